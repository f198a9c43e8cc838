"""Judges answers with a Python function, for command_reward's option `function`.

    runner.py FILE.py:NAME [--max-memory GIB]

The job starts it; by hand: echo '{"id": "a"}' | tools/rewards/runner.py my.py:reward
Protocol, one line each, what begins on stdin being answered on stdout in the same order:
    {"id": "a"}                        ->  {"id": "a", "tokens": false}    the function is there
    {"id": "b", "records": [{...}]}    ->  {"id": "b", "rewards": [1.0, null, {"reward": 1, "parts": {"format": 0.5}},
                                            {"failed": "raised", "what": "Traceback ..."}]}
    anything, without such a function  ->  {"id": "a", "problem": "Traceback ..."}
The function sees neither of the two streams: what it prints goes to stderr, its stdin is empty.
"""
import argparse
import importlib.util
import json
import math
import numbers
import os
import re
import sys
import traceback

LONGEST_TEXT = 1500
NAME_OF_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class Streams:
    """The protocol's ends of stdin and stdout, which nobody else has."""

    def __init__(self):
        self.questions = os.fdopen(os.dup(0), "rb")
        self.answers = os.fdopen(os.dup(1), "wb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)  # of C code and of programs that the function starts as well
        sys.stdout.reconfigure(line_buffering=True)
        self.owner = os.getpid()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self):
        for descriptor in (self.questions.fileno(), self.answers.fileno()):
            os.close(descriptor)

    def end_others(self):
        """A fork of the function's that came back from it."""
        if os.getpid() != self.owner:
            os._exit(1)

    def write(self, answer):
        try:
            self.answers.write(json.dumps(answer, allow_nan=False, separators=(",", ":")).encode() + b"\n")
            self.answers.flush()
        except BrokenPipeError:  # the job has given this process up
            os._exit(1)


def text_of(error):
    """The end of a traceback, without this file's part of it."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    text = "".join(traceback.format_exception(type(error), error, own)).strip()
    text = text.encode(errors="replace").decode()  # half a character, which JSON's readers refuse
    return text if len(text) <= LONGEST_TEXT else "..." + text[-LONGEST_TEXT:]


def load(where):
    """The function FILE.py:NAME."""
    path, _, name = where.rpartition(":")
    path = os.path.abspath(path)
    sys.path[0] = os.path.dirname(path)  # what lies beside the file can be imported
    spec = importlib.util.spec_from_file_location(os.path.splitext(os.path.basename(path))[0], path)
    if spec is None:
        raise ImportError(f"{path} is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if function is None:
        there = sorted(n for n, value in vars(module).items() if callable(value) and not n.startswith("_"))
        raise AttributeError(f"{path} has no function {name}; it has {', '.join(there) or 'none'}")
    if not callable(function):
        raise TypeError(f"{name} in {path} is a {type(function).__name__}, no function")
    return function


class Unfit(Exception):
    """What the function returned is no reward."""

    def __init__(self, what, reason="malformed"):
        super().__init__(what)
        self.reason = reason


def plain(value):
    """Numbers of NumPy and PyTorch as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def shown(value):
    text = repr(value)
    return f"{type(value).__name__} {text if len(text) <= 200 else text[:200] + '...'}"


def number(value, what):
    value = plain(value)
    if not isinstance(value, numbers.Real):
        raise Unfit(f"{what} is no number: {shown(value)}")
    try:
        value = float(value)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise Unfit(f"{what} is not finite: {value}", "not_finite")
    return value


def verdict(value):
    """One element of what the function returned, as the protocol has it."""
    if type(value) is float and math.isfinite(value):  # by far the most
        return value
    value = plain(value)
    if value is None:
        return None
    if not isinstance(value, dict):
        return number(value, "the reward")
    if "reward" not in value:
        raise Unfit(f"a dict without the key 'reward': {shown(value)}")
    parts = {}
    for name, part in value.items():
        if name == "reward" or part is None:
            continue
        if not isinstance(name, str) or not NAME_OF_PART.match(name):
            raise Unfit(f"the name of a part may have letters, digits, _, . and - only: {shown(name)}")
        parts[name] = number(part, f"part {name}")
    reward = value["reward"]
    return {"reward": None if reward is None else number(reward, "the reward"), "parts": parts}


class Judge:
    def __init__(self, function, streams):
        self.function = function
        self.streams = streams
        self.folder = os.getcwd()

    def call(self, records):
        n = len(records)
        try:
            rewards = self.function(records)
        finally:
            self.streams.end_others()
            self.return_to_folder()
        if hasattr(rewards, "tolist"):
            rewards = rewards.tolist()
        if not isinstance(rewards, (list, tuple)):
            raise Unfit(f"the function returned no list of rewards: {shown(rewards)}")
        if len(rewards) != n:
            raise Unfit(f"the function returned {len(rewards)} rewards for {n} records")
        return rewards

    def return_to_folder(self):
        try:
            if os.getcwd() == self.folder:
                return
        except FileNotFoundError:
            pass
        print(f"runner.py: the function changed the directory; it is {self.folder} again", file=sys.stderr)
        os.chdir(self.folder)

    def rewards(self, line):
        """One at a time where the function cannot take them all: only what is to blame has no reward."""
        records = json.loads(line)["records"]
        try:
            return [self.checked(reward) for reward in self.call(records)]
        except BaseException as error:
            if len(records) == 1:
                return [self.failure(error)]
        again = json.loads(line)["records"]  # as they were: the function may have changed them
        return [self.of_one(record) for record in again]

    def of_one(self, record):
        try:
            return self.checked(self.call([record])[0])
        except BaseException as error:  # SystemExit and KeyboardInterrupt too
            return self.failure(error)

    def checked(self, reward):
        try:
            return verdict(reward)
        except Unfit as error:
            return self.failure(error)

    @staticmethod
    def failure(error):
        if isinstance(error, Unfit):
            return {"failed": error.reason, "what": str(error).encode(errors="replace").decode()}
        return {"failed": "raised", "what": text_of(error)}


def memory_gib():
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    except OSError:
        return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("function", metavar="FILE.py:NAME")
    parser.add_argument("--max-memory", type=float, default=math.inf, metavar="GIB",
                        help="ends between two questions when it holds more; the job starts it again")
    arguments = parser.parse_args()
    streams = Streams()
    judge = problem = None
    for line in streams.questions:
        question = json.loads(line)
        if judge is None and problem is None:  # after the first line: what comes of it is its answer
            try:
                judge = Judge(load(arguments.function), streams)
            except BaseException as error:
                problem = text_of(error)
            streams.end_others()
        if problem is not None:
            streams.write({"id": question["id"], "problem": problem})
        elif "records" in question:
            streams.write({"id": question["id"], "rewards": judge.rewards(line)})
            held = memory_gib()
            if held > arguments.max_memory:
                print(f"runner.py: the function holds {held:.2f} GiB, more than {arguments.max_memory:g}: "
                      "started again", file=sys.stderr)
                sys.stderr.flush()
                os._exit(0)
        else:
            streams.write({"id": question["id"], "tokens": bool(getattr(judge.function, "tokens", False))})
    sys.stderr.flush()
    os._exit(0)  # threads and exit handlers of the function are nobody's concern


if __name__ == "__main__":
    main()
