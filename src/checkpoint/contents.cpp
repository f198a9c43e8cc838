#include "orrery/checkpoint/contents.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "hdf5_handle.h"
#include "orrery/base/counted.h"
#include "orrery/base/file.h"
#include "orrery/base/text.h"

namespace orrery::checkpoint {

namespace {

/// What the visit functions of HDF5, which are C, get.
struct Visit {
  hid_t file = H5I_INVALID_HID;
  std::string where;
  Hdf5Contents contents;
};

std::string dtype_text(hid_t type) {
  const size_t bits = H5Tget_size(type) * 8;
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return base::concat(H5Tget_sign(type) == H5T_SGN_NONE ? "uint" : "int", bits);
    case H5T_FLOAT:
      return base::concat("float", bits);
    case H5T_STRING:
      return "string";
    default:
      return base::concat("other (", base::counted(bits / 8, "byte"), ")");
  }
}

herr_t visit_object(hid_t, const char* name, const H5O_info_t* info, void* data) {
  if (info->type != H5O_TYPE_DATASET) return 0;
  auto& visit = *static_cast<Visit*>(data);
  const DatasetHandle dataset(H5Dopen2(visit.file, name, H5P_DEFAULT));
  if (!dataset) return -1;
  const SpaceHandle space(H5Dget_space(dataset.get()));
  const TypeHandle type(H5Dget_type(dataset.get()));
  const int n_dims = H5Sget_simple_extent_ndims(space.get());
  if (!space || !type || n_dims < 0) return -1;
  std::vector<hsize_t> dims(static_cast<size_t>(n_dims));
  if (n_dims > 0) H5Sget_simple_extent_dims(space.get(), dims.data(), nullptr);
  visit.contents.datasets.push_back(
      {.name = name,
       .dtype = dtype_text(type.get()),
       .shape = std::vector<int64_t>(dims.begin(), dims.end()),
       .stored_bytes = static_cast<int64_t>(H5Dget_storage_size(dataset.get()))});
  return 0;
}

/// One number or a text of fixed length; others are left out.
herr_t visit_attribute(hid_t object, const char* name, const H5A_info_t*, void* data) {
  auto& visit = *static_cast<Visit*>(data);
  const AttributeHandle attribute(H5Aopen(object, name, H5P_DEFAULT));
  if (!attribute) return -1;
  const TypeHandle type(H5Aget_type(attribute.get()));
  const SpaceHandle space(H5Aget_space(attribute.get()));
  if (!type || !space || H5Sget_simple_extent_npoints(space.get()) != 1) return 0;
  std::string& text = visit.contents.attributes[name];
  switch (H5Tget_class(type.get())) {
    case H5T_INTEGER: {
      long long value = 0;
      if (H5Aread(attribute.get(), H5T_NATIVE_LLONG, &value) < 0) return -1;
      text = std::to_string(value);
      return 0;
    }
    case H5T_FLOAT: {
      double value = 0;
      if (H5Aread(attribute.get(), H5T_NATIVE_DOUBLE, &value) < 0) return -1;
      text = base::concat(value);
      return 0;
    }
    case H5T_STRING: {
      const size_t size = H5Tget_size(type.get());
      if (H5Tis_variable_str(type.get()) != 0 || size > 4096) {
        text = "(a text)";
        return 0;
      }
      std::vector<char> bytes(size + 1, '\0');
      if (H5Aread(attribute.get(), type.get(), bytes.data()) < 0) return -1;
      text = bytes.data();
      return 0;
    }
    default:
      text = "(not shown)";
      return 0;
  }
}

}  // namespace

bool is_hdf5(const std::filesystem::path& file) {
  constexpr std::string_view kSignature = "\x89HDF\r\n\x1a\n";
  return base::read_beginning(file, kSignature.size()) == kSignature;
}

Hdf5Contents list_hdf5(const std::filesystem::path& file) {
  const LibraryLock lock;
  const std::string where = file.string();
  const FileHandle handle(ORRERY_HDF5(where, H5Fopen(file.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT)));
  Visit visit{.file = handle.get(), .where = where, .contents = {}};
  ORRERY_HDF5(where, H5Ovisit2(handle.get(), H5_INDEX_NAME, H5_ITER_INC, visit_object, &visit,
                               H5O_INFO_BASIC));
  hsize_t position = 0;
  ORRERY_HDF5(where, H5Aiterate2(handle.get(), H5_INDEX_NAME, H5_ITER_INC, &position,
                                 visit_attribute, &visit));
  std::sort(visit.contents.datasets.begin(), visit.contents.datasets.end(),
            [](const Hdf5Dataset& a, const Hdf5Dataset& b) { return a.name < b.name; });
  return std::move(visit.contents);
}

}  // namespace orrery::checkpoint
