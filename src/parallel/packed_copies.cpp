#include "packed_copies.h"

#include <vector>

#include "orrery/kernels/strided_copy.h"
#include "orrery/model/cuda_stream.h"
#include "orrery/model/uploaded.h"

namespace orrery::parallel {

namespace {

using kernels::Bf16;

template <class T>
struct Kind {
  using Type = T;
};

/// Calls work(Kind<T>) with the kernels' type of a scalar type; false: they have none.
template <class Work>
bool with_kernel_type(at::ScalarType type, const Work& work) {
  if (type == at::kFloat) {
    work(Kind<float>());
  } else if (type == at::kDouble) {
    work(Kind<double>());
  } else if (type == at::kBFloat16) {
    work(Kind<Bf16>());
  } else {
    return false;
  }
  return true;
}

bool has_kernel_type(const at::Tensor& x) {
  return with_kernel_type(x.scalar_type(), [](auto) {});
}

/// The lists that a kernel on a GPU reads.
class Uploaded {
 public:
  Uploaded(std::span<const StridedCopy> copies, const std::vector<int64_t>& first,
           const at::Tensor& like)
      : copies_(model::uploaded_bytes(copies, like)),
        first_(model::uploaded<int64_t>(first, like)) {}

  template <class Args>
  Args named_in(Args args) const {
    args.copies = static_cast<const StridedCopy*>(copies_.const_data_ptr());
    args.first = first_.const_data_ptr<int64_t>();
    return args;
  }

 private:
  at::Tensor copies_, first_;
};

std::vector<int64_t> first_elements(std::span<const StridedCopy> copies) {
  std::vector<int64_t> first{0};
  first.reserve(copies.size() + 1);
  for (const StridedCopy& copy : copies) first.push_back(first.back() + copy.numel());
  return first;
}

}  // namespace

at::Tensor runs_of(const at::Tensor& flat, int64_t offset, int64_t stride,
                   const StridedCopy& copy) {
  if (copy.rows == 1) return flat.narrow(0, offset, copy.length);
  return flat.as_strided({copy.rows, copy.length}, {stride, 1}, flat.storage_offset() + offset);
}

void mix(at::Tensor to, const at::Tensor& from, double eta) {
  if (eta == 1) {
    to.copy_(from);
  } else {
    to.lerp_(from.to(to.scalar_type()), eta);
  }
}

void gather_copies(std::span<const StridedCopy> copies, const at::Tensor& source,
                   const at::Tensor& packed) {
  if (has_kernel_type(source) && has_kernel_type(packed)) {
    const std::vector<int64_t> first = first_elements(copies);
    with_kernel_type(source.scalar_type(), [&]<class Source>(Kind<Source>) {
      with_kernel_type(packed.scalar_type(), [&]<class Wire>(Kind<Wire>) {
        kernels::PackArgs<Source, Wire> args{
            .source = static_cast<const Source*>(source.const_data_ptr()),
            .copies = copies.data(),
            .first = first.data(),
            .n_copies = static_cast<int64_t>(copies.size()),
            .numel = first.back(),
            .packed = static_cast<Wire*>(packed.data_ptr())};
        if (source.is_cpu()) return kernels::pack(args);
        const Uploaded there(copies, first, source);
        kernels::pack_cuda(there.named_in(args), model::stream_of(source));
      });
    });
    return;
  }
  int64_t at = 0;
  for (const StridedCopy& copy : copies) {
    const at::Tensor from = runs_of(source, copy.source_offset, copy.source_stride, copy);
    packed.narrow(0, at, copy.numel()).view(from.sizes()).copy_(from);
    at += copy.numel();
  }
}

void scatter_copies(std::span<const StridedCopy> copies, const at::Tensor& packed,
                    const at::Tensor& destination, double eta) {
  if (has_kernel_type(packed) && has_kernel_type(destination)) {
    const std::vector<int64_t> first = first_elements(copies);
    with_kernel_type(packed.scalar_type(), [&]<class Wire>(Kind<Wire>) {
      with_kernel_type(destination.scalar_type(), [&]<class Destination>(Kind<Destination>) {
        kernels::UnpackArgs<Wire, Destination> args{
            .packed = static_cast<const Wire*>(packed.const_data_ptr()),
            .copies = copies.data(),
            .first = first.data(),
            .n_copies = static_cast<int64_t>(copies.size()),
            .numel = first.back(),
            .destination = static_cast<Destination*>(destination.data_ptr()),
            .eta = eta};
        if (packed.is_cpu()) return kernels::unpack(args);
        const Uploaded there(copies, first, packed);
        kernels::unpack_cuda(there.named_in(args), model::stream_of(packed));
      });
    });
    return;
  }
  int64_t at = 0;
  for (const StridedCopy& copy : copies) {
    const at::Tensor to =
        runs_of(destination, copy.destination_offset, copy.destination_stride, copy);
    mix(to, packed.narrow(0, at, copy.numel()).view(to.sizes()), eta);
    at += copy.numel();
  }
}

}  // namespace orrery::parallel
