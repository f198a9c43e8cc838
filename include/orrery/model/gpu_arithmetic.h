// How LibTorch's operators compute on GPUs, for the whole process.
#pragma once

namespace orrery::model {

/// The same bits in every run, so that a resumed one goes on as an undisturbed one: deterministic
/// algorithms, those of flash attention's gradients among them; products of fp32 in fp32, not
/// TF32; sums of bf16 products in fp32. Before the first operator on a GPU. Not collective.
void fix_gpu_arithmetic();

}  // namespace orrery::model
