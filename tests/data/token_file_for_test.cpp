#include "data/token_file_for_test.h"

namespace orrery::data {

namespace {

template <class T>
void write(hid_t file, const std::string& name, hid_t type, const std::vector<T>& values) {
  if (H5Lexists(file, name.substr(0, name.find('/')).c_str(), H5P_DEFAULT) > 0 &&
      H5Lexists(file, name.c_str(), H5P_DEFAULT) > 0) {
    H5Ldelete(file, name.c_str(), H5P_DEFAULT);
  }
  const hsize_t size = values.size(), most = H5S_UNLIMITED, chunk = 4;
  const base::Hdf5Properties links(H5Pcreate(H5P_LINK_CREATE));
  H5Pset_create_intermediate_group(links.get(), 1);
  const base::Hdf5Properties layout(H5Pcreate(H5P_DATASET_CREATE));
  H5Pset_chunk(layout.get(), 1, &chunk);
  const base::Hdf5Space space(H5Screate_simple(1, &size, &most));
  const base::Hdf5Dataset dataset(
      H5Dcreate2(file, name.c_str(), type, space.get(), links.get(), layout.get(), H5P_DEFAULT));
  H5Dwrite(dataset.get(), type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data());
}

template <class Entries>
void write_column(hid_t file, const std::string& group, const Entries& entries) {
  using T = std::conditional_t<std::is_same_v<Entries, std::vector<std::string>>, uint8_t, int32_t>;
  std::vector<T> values;
  std::vector<int64_t> offsets = {0};
  for (const auto& entry : entries) {
    values.insert(values.end(), entry.begin(), entry.end());
    offsets.push_back(static_cast<int64_t>(values.size()));
  }
  write_numbers(file, group + "/values", values);
  write_numbers(file, group + "/offsets", offsets);
}

void forget(hid_t file, const char* object, const char* name) {
  if (H5Aexists_by_name(file, object, name, H5P_DEFAULT) > 0) {
    H5Adelete_by_name(file, object, name, H5P_DEFAULT);
  }
}

}  // namespace

void write_numbers(hid_t file, const std::string& name, const std::vector<int32_t>& values) {
  write(file, name, H5T_STD_I32LE, values);
}
void write_numbers(hid_t file, const std::string& name, const std::vector<int64_t>& values) {
  write(file, name, H5T_STD_I64LE, values);
}
void write_numbers(hid_t file, const std::string& name, const std::vector<uint8_t>& values) {
  write(file, name, H5T_STD_U8LE, values);
}

void write_attribute(hid_t file, const char* object, const char* name,
                     const std::vector<int64_t>& values) {
  forget(file, object, name);
  const hsize_t size = values.size();
  const base::Hdf5Space space(size == 1 ? H5Screate(H5S_SCALAR)
                                        : H5Screate_simple(1, &size, nullptr));
  const base::Hdf5Attribute attribute(H5Acreate_by_name(
      file, object, name, H5T_STD_I64LE, space.get(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Awrite(attribute.get(), H5T_NATIVE_INT64, values.data());
}

void write_attribute(hid_t file, const char* object, const char* name, const std::string& value) {
  forget(file, object, name);
  const base::Hdf5Space space(H5Screate(H5S_SCALAR));
  const base::Hdf5Type type(H5Tcopy(H5T_C_S1));
  H5Tset_size(type.get(), value.size());
  const base::Hdf5Attribute attribute(H5Acreate_by_name(file, object, name, type.get(), space.get(),
                                                        H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  H5Awrite(attribute.get(), type.get(), value.data());
}

void write_token_file(const std::string& path, const TokenRecords& records,
                      const std::function<void(hid_t file)>& spoil) {
  const base::Hdf5Lock lock;
  const base::Hdf5Properties access(H5Pcreate(H5P_FILE_ACCESS));
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  const base::Hdf5File handle(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()));
  const hid_t file = handle.get();
  write_column(file, "prompt", records.prompt);
  if (!records.completion.empty()) write_column(file, "completion", records.completion);
  if (!records.chosen.empty()) write_column(file, "chosen", records.chosen);
  if (!records.rejected.empty()) write_column(file, "rejected", records.rejected);
  if (!records.answer.empty()) write_column(file, "answer", records.answer);
  if (!records.fields.empty()) write_column(file, "fields", records.fields);
  std::vector<int64_t> lines;
  for (size_t i = 0; i < records.prompt.size(); ++i) lines.push_back(10 + static_cast<int>(i));
  write_numbers(file, "line", lines);
  write_column(file, "vocabulary", records.tokens);
  std::vector<uint8_t> special(records.tokens.size());
  special[0] = special[1] = 1;
  write_numbers(file, "vocabulary/special", special);
  write_attribute(file, "vocabulary", "bos_id", std::vector<int64_t>{0});
  write_attribute(file, "vocabulary", "eos_ids", records.eos);
  write_attribute(file, "vocabulary", "pad_id", std::vector<int64_t>{0});
  write_attribute(file, "/", "format", "orrery-tokens");
  write_attribute(file, "/", "version", std::vector<int64_t>{1});
  write_attribute(file, "/", "kind", records.kind);
  write_attribute(file, "/", "source", "source.jsonl");
  write_attribute(file, "/", "n_records",
                  std::vector<int64_t>{static_cast<int64_t>(records.prompt.size())});
  if (spoil) spoil(file);
}

}  // namespace orrery::data
