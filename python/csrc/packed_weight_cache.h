// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
/// Weights in a kernel's own order, kept between calls while the tensor they were packed from is unchanged.
///
/// "Unchanged" is what PyTorch's version counter says: in-place operations and optimizers raise it, under no_grad too.
/// It does not see writes through `parameter.data`, nor what shares the storage without sharing the counter; nothing
/// does, short of reading the weights, which costs as much as packing them. So reuse is off until the user asks for it.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <list>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "longconv/plan.h"

namespace longconv::torch_binding {

/// Thread-safe, bounded in bytes; least recently used entries leave first, those of dead tensors at the next keep().
///
/// An entry belongs to a tensor object (held weakly, so that its address cannot come to mean another one), its storage,
/// version, sizes and strides; to the form that a plan packs (kernel, config, dtype, precision, groups); and to one
/// stream: packing, uses and the reuse of freed memory are in the order of that stream, so that no events are needed.
/// PyTorch's caching allocator, from which the memory comes, identifies streams in the same way.
class PackedWeightCache {
 public:
  explicit PackedWeightCache(std::int64_t max_bytes) : max_bytes_(max_bytes) {}

  /// Whether changes of the tensor can be seen at all: an inference tensor has no version counter.
  static bool can_keep(const at::Tensor& weight) { return !weight.is_inference(); }

  /// The weight as the plan packs it, packed on `stream` before; undefined if there is none. To be held until the
  /// launch that reads it is queued.
  at::Tensor find(const at::Tensor& weight, const Plan& plan, const void* stream);
  /// Keeps `packed`, which work queued on `stream` fills from the weight as it is. Replaces older versions.
  void keep(const at::Tensor& weight, const Plan& plan, const void* stream, at::Tensor packed);
  void clear();

  std::int64_t entries() const;
  std::int64_t bytes() const;

 private:
  struct Form {
    const Kernel* kernel;
    Config config;
    DType dtype;
    Precision precision;
    std::int64_t groups;
    bool is_of(const Plan& plan) const;
  };
  /// What must be the same for the packed weights to be right.
  struct State {
    const void* storage;
    const void* data;
    std::int64_t version;
    std::array<std::int64_t, 3> sizes, strides;
    explicit State(const at::Tensor& weight);
    bool operator==(const State&) const = default;
  };
  struct Entry {
    const c10::TensorImpl* tensor;
    c10::weak_intrusive_ptr<c10::TensorImpl> alive;
    c10::weak_intrusive_ptr<c10::StorageImpl> storage_alive;  ///< its address is not given to another storage
    State state;
    const void* stream;
    Form form;
    at::Tensor packed;
  };
  using Entries = std::list<Entry>;
  using Index = std::unordered_multimap<const c10::TensorImpl*, Entries::iterator>;

  /// The entry for this tensor, stream and form, of whatever state.
  std::optional<Entries::iterator> locate(const c10::TensorImpl* tensor, const Plan& plan, const void* stream);
  Entries::iterator erase(Entries::iterator entry);

  const std::int64_t max_bytes_;
  mutable std::mutex mutex_;
  Entries entries_;  // most recently used first
  Index index_;
  std::int64_t bytes_ = 0;
};

}  // namespace longconv::torch_binding
