"""Records of files in the forms that people have them in, one at a time: whatever the size of a
file, no more than a record, or a batch of them, is in memory."""
import collections
import csv
import json
import mmap
import re

from .problem import BadRecord, Problem, tokens

MAX_RECORD = tokens.MAX_LINE
BATCH_ROWS = 1000
# The hub's names of shards, train-00000-of-00001.parquet, and others that begin with what they are for.
PART_OF_NAME = re.compile(r"(.+)-\d+-of-\d+|(train|test|validation|valid|val|dev|eval)(?=[-_.])")

# number: of the record's first line, or of its row; at: how far the source is read, of its size;
# values: by column, or None with a problem; raw: the JSON text that the values came from.
Row = collections.namedtuple("Row", "number at values problem raw", defaults=(None, None))


class WrittenInt(int):
    """An integer that knows how it was written."""

    def __new__(cls, text):
        self = int.__new__(cls, text)
        self.text = text
        return self


class WrittenFloat(float):
    """A number that knows how it was written: 1.50."""

    def __new__(cls, text):
        self = float.__new__(cls, text)
        self.text = text
        return self


def decoded(raw):
    """Bytes as text, or BadRecord that says which byte is none."""
    if b"\0" in raw:
        raise BadRecord("a NUL byte")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecord(f"not UTF-8: byte {raw[error.start]} at byte {error.start + 1} of the record")


def parsed(raw):
    """(columns, text) of the bytes of a JSON object."""
    text = decoded(raw)
    try:
        values = json.loads(text, object_pairs_hook=tokens.Columns.of, parse_constant=tokens.no_number,
                            parse_int=WrittenInt, parse_float=WrittenFloat)
    except RecursionError:
        raise BadRecord("nested too deeply")
    except ValueError as error:
        raise BadRecord(f"no JSON: {error}")
    if not isinstance(values, dict):
        raise BadRecord("expected an object { ... }")
    if values.twice is not None:
        raise BadRecord(f'column "{values.twice}" comes twice')
    return values, text


def row_of(number, at, raw):
    try:
        values, text = parsed(raw)
        return Row(number, at, values, None, text)
    except BadRecord as error:
        return Row(number, at, None, str(error))


class Source:
    """A file, or files that are one after another; where() names a record for messages."""

    columns = None  # of files that say so themselves
    unit = "line"

    def __init__(self, path):
        self.path, self.size = path, path.stat().st_size

    def where(self, number):
        return f"{self.path}:{number}"

    def overview(self, n_samples):
        """(columns, values of the first usable records); of each column whether a record has true or false in it.
        JSON says its columns nowhere, and one may begin anywhere: such a file is read to its end."""
        columns, samples, first_problem = dict.fromkeys(self.columns or [], False), [], None
        for row in self:
            if row.values is None:
                first_problem = first_problem or f"{self.where(row.number)}: {row.problem}"
                continue
            for name, value in row.values.items():
                columns[name] = columns.get(name, False) or isinstance(value, bool) or value in ("True", "False")  # CSV has texts
            if len(samples) < n_samples:
                samples.append(row.values)
            elif self.columns:
                break
        if not samples:
            raise Problem(f"{first_problem}; no record of the file can be used" if first_problem else f"{self.path} has no record")
        return columns, samples


class JsonLines(Source):
    def __iter__(self):
        for number, at, raw, problem in tokens.lines_of(self.path):
            yield Row(number, at, None, problem) if problem else row_of(number, at, raw)


class JsonArray(Source):
    """[{...}, {...}]: the file is mapped, and only one element of it is turned into values."""

    PARTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{},\n]', re.DOTALL)

    def __iter__(self):
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            depth, line, begin, begin_line, ended, last = 0, 1, None, 1, False, 0
            for part in self.PARTS.finditer(content):
                what, at, last = part.group(), part.start(), part.end()
                if what == b'"':
                    raise Problem(f"{self.path}:{line}: a text that does not end")
                if what == b"\n":
                    line += 1
                    continue
                if ended:
                    raise Problem(f"{self.path}:{line}: something stands behind the array's end")
                if what[:1] == b'"':
                    line += what.count(b"\n")
                elif what in b"[{":
                    depth += 1
                    if depth == 1:
                        begin, begin_line = last, line
                        continue
                elif what in b"]}":
                    depth -= 1
                if (what == b"," and depth == 1) or depth == 0:
                    raw = content[begin:at]
                    skipped = len(raw) - len(raw.lstrip())
                    first = begin_line + raw[:skipped].count(b"\n")
                    if raw.strip() or what == b",":
                        yield row_of(first, at, raw.strip()) if raw.strip() else Row(first, at, None, "an element is missing")
                    begin, begin_line, ended = last, line, depth == 0
            if not ended:
                raise Problem(f"{self.path}:{line}: the array does not end: the file is cut off, or its brackets do not match")
            if content[last:].strip():
                raise Problem(f"{self.path}:{line}: something stands behind the array's end")


class Csv(Source):
    def __init__(self, path, delimiter):
        super().__init__(path)
        csv.field_size_limit(MAX_RECORD)
        self.delimiter = delimiter
        with self.open() as file:
            try:
                header = next(self.reader(file), None)
            except csv.Error as error:
                raise Problem(f"{path}:1: {error}")
        if not header:
            raise Problem(f"{path}: has no header with the columns' names")
        twice = [name for name, n in collections.Counter(header).items() if n > 1]
        if twice:
            raise Problem(f'{path}:1: the column "{twice[0]}" comes twice')
        self.columns = header

    def open(self):
        # Bytes that are not UTF-8 are kept apart, so that their record can be named.
        return open(self.path, encoding="utf-8-sig", errors="surrogateescape", newline="")

    def reader(self, file):
        return csv.reader(file, delimiter=self.delimiter, strict=True)

    def __iter__(self):
        with self.open() as file:
            read = 0

            def lines():
                nonlocal read
                for line in file:
                    read += len(line)
                    yield line

            reader = self.reader(lines())
            next(reader)
            while True:
                number = reader.line_num + 1
                try:
                    fields = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    if "end of data" in str(error):  # what follows would be lost inside one field
                        raise Problem(f"{self.path}:{number}: a quoted field does not end")
                    yield Row(number, read, None, f"no CSV: {error}")
                    continue
                if not fields:
                    continue
                yield self.row(number, read, fields)

    def row(self, number, at, fields):
        if len(fields) != len(self.columns):
            return Row(number, at, None, f"{len(fields)} fields, but the header has {len(self.columns)}")
        try:
            for field in fields:
                decoded(field.encode("utf-8", "surrogateescape"))
        except (BadRecord, UnicodeEncodeError) as error:
            return Row(number, at, None, str(error))
        return Row(number, at, dict(zip(self.columns, fields)))


def arrow(what):
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        raise Problem(f"{what} needs the Python package pyarrow: pip install pyarrow")
    return pyarrow


class Arrow(Source):
    """What pyarrow reads: Parquet, and the files of a directory that datasets' save_to_disk wrote."""

    unit = "row"

    def __init__(self, path, files):
        self.pyarrow = arrow(str(path))
        self.path, self.files = path, files
        self.size, schemas = 0, []
        for file in files:
            try:
                schema, rows = self.describe(file)
            except (self.pyarrow.ArrowException, OSError) as error:
                raise Problem(f"{file}: {error}")
            self.size += rows
            schemas.append(schema)
            if schema.names != schemas[0].names:
                raise Problem(f"{file}: other columns than {files[0]}: {', '.join(schema.names)}")
        self.columns = schemas[0].names
        self.types = {field.name: field.type for field in schemas[0]}
        if len(set(self.columns)) != len(self.columns):
            raise Problem(f"{path}: a column comes twice: {', '.join(self.columns)}")

    def where(self, number):
        return f"{self.path}, row {number}"

    def type_of(self, column):
        """(none if it is a text or number, list of objects, nested or other; its type in words)"""
        type, kinds = self.types[column], self.pyarrow.types
        if kinds.is_dictionary(type):
            type = type.value_type
        if kinds.is_list(type) or kinds.is_large_list(type) or kinds.is_fixed_size_list(type):
            return ("list of objects" if kinds.is_struct(type.value_type) else "nested"), str(type)
        return ("nested" if kinds.is_nested(type) else None), str(type)

    def values_of(self, batch):
        """Lists of values by column; a value that is none is the problem that says so."""
        result = {}
        for name, column in zip(batch.schema.names, batch.columns):
            try:
                result[name] = column.to_pylist()
            except ValueError:  # somewhere in it is text that is not UTF-8, say
                result[name] = []
                for value in column:
                    try:
                        result[name].append(value.as_py())
                    except ValueError as error:
                        result[name].append(BadRecord(f'column "{name}": not UTF-8: {error}'))
            type = batch.schema.field(name).type
            if type in (self.pyarrow.float32(), self.pyarrow.float16()):
                result[name] = [narrow(value, type) for value in result[name]]
        return result

    def __iter__(self):
        number = 0
        for file in self.files:
            try:
                for batch in self.batches(file):
                    columns = self.values_of(batch)
                    for i in range(batch.num_rows):
                        number += 1
                        values = {name: column[i] for name, column in columns.items()}
                        bad = next((value for value in values.values() if isinstance(value, BadRecord)), None)
                        yield Row(number, number, None, str(bad)) if bad else Row(number, number, values)
            except (self.pyarrow.ArrowException, OSError) as error:
                raise Problem(f"{file}: damaged behind row {number}: {error}")


def narrow(value, type):
    """A float of less than 64 bits as the shortest text that gives it: 0.1, not 0.10000000149."""
    if not isinstance(value, float) or value != value or value in (float("inf"), float("-inf")):
        return value
    import numpy
    return WrittenFloat(str((numpy.float32 if str(type) == "float" else numpy.float16)(value)))


class Parquet(Arrow):
    def describe(self, file):
        with self.pyarrow.parquet.ParquetFile(file) as opened:
            return opened.schema_arrow, opened.metadata.num_rows

    def batches(self, file):
        with self.pyarrow.parquet.ParquetFile(file) as opened:
            yield from opened.iter_batches(batch_size=BATCH_ROWS)


class SavedDataset(Arrow):
    def describe(self, file):
        with self.pyarrow.memory_map(str(file)) as mapped, self.pyarrow.ipc.open_stream(mapped) as opened:
            return opened.schema, sum(batch.num_rows for batch in opened)

    def batches(self, file):
        with self.pyarrow.memory_map(str(file)) as mapped, self.pyarrow.ipc.open_stream(mapped) as opened:
            for batch in opened:
                for at in range(0, batch.num_rows, BATCH_ROWS):
                    yield batch.slice(at, BATCH_ROWS)


def json_of(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Problem(f"{path}: {error}")


def chosen_part(path, names, part, advice):
    """The name of the part that is asked for, or of the only one."""
    if part is None and len(names) == 1:
        return names[0]
    if part not in names:
        raise Problem(f"{path} has the parts {', '.join(names)}: " + (advice if part is None else f'there is none that is called "{part}"'))
    return part


def saved_dataset(path, part, advice):
    """The directory that datasets' save_to_disk wrote; `part` of it where there are several."""
    if (path / "dataset_dict.json").is_file():
        path = path / chosen_part(path, json_of(path / "dataset_dict.json").get("splits", []), part, advice)
    elif part is not None:
        raise Problem(f"{path} has no parts: leave --part out")
    state = json_of(path / "state.json")
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise Problem(f"{path} is a selection of rows: save it again after dataset.flatten_indices()")
    files = [path / entry["filename"] for entry in state.get("_data_files", [])]
    missing = [file for file in files if not file.is_file()]
    if missing or not files:
        raise Problem(f"{missing[0] if missing else path / 'state.json'}: " + ("there is no such file" if missing else "names no files"))
    return SavedDataset(path, files)


def parquet_directory(path, files, part, advice):
    """Shards of one table, or of the parts that the files' names say."""
    parts = {}
    for file in files:
        named = PART_OF_NAME.match(file.name)
        parts.setdefault(named.group(1) or named.group(2) if named else None, []).append(file)
    if list(parts) == [None]:
        if part is not None:
            raise Problem(f"{path} has no parts: no file's name says one, such as train-00000-of-00001.parquet")
        return Parquet(path, files)
    for file in parts.pop(None, []):
        parts[file.stem] = [file]
    return Parquet(path, parts[chosen_part(path, list(parts), part, advice)])


def first_byte(path):
    with open(path, "rb") as file:
        while block := file.read(1 << 16):
            block = block.removeprefix(b"\xef\xbb\xbf").lstrip()
            if block:
                return block[:4]
    raise Problem(f"{path} is empty")


def is_one_object(path):
    with open(path, "rb") as file:
        first, second = file.readline(MAX_RECORD), file.readline(MAX_RECORD)
    return first.strip() in (b"{", b"\xef\xbb\xbf{") or second[:1] in (b" ", b"\t")


def open_source(path, part=None, advice="choose one with --part"):
    """The source that `path` is, by what it holds, then by its name; `advice` to choose one of several parts."""
    if not path.exists():
        raise Problem(f"{path}: there is no such file or directory")
    if path.is_dir():
        if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
            return saved_dataset(path, part, advice)
        shards = sorted(path.glob("*.parquet"))
        if shards:
            return parquet_directory(path, shards, part, advice)
        below = sorted({file.parent.name for file in path.glob("*/*.parquet")})
        raise Problem(f"{path} is a directory without state.json (datasets' save_to_disk) or *.parquet"
                      + (f"; name one of its folders that have some: {', '.join(below)}" if below else ""))
    if part is not None:
        raise Problem(f"{path} is a file: --part is for directories that have several")
    begin, suffix = first_byte(path), path.suffix.lower()
    if begin == b"PAR1" or suffix == ".parquet":
        return Parquet(path, [path])
    if begin == b"\x1f\x8b\x08\x08"[:len(begin)] or begin[:2] in (b"\x1f\x8b", b"PK", b"BZ", b"\x28\xb5"):
        raise Problem(f"{path} is compressed: unpack it first")
    if begin == b"\x89HDF":
        raise Problem(f"{path} is HDF5: if it is a pre-tokenized dataset, use it as it is")
    if suffix in (".csv", ".tsv"):
        return Csv(path, "\t" if suffix == ".tsv" else ",")
    if begin[:1] == b"[":
        return JsonArray(path)
    if begin[:1] == b"{" and suffix == ".json" and is_one_object(path):
        raise Problem(f"{path} is one JSON object over several lines: expected an array of objects, or one object a line")
    if begin[:1] == b"{" or suffix in (".jsonl", ".ndjson", ".json"):
        return JsonLines(path)
    raise Problem(f"{path}: expected JSON lines, a JSON array, Parquet, CSV (.csv, .tsv) or a directory that datasets' save_to_disk wrote")
