// Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
#include "packed_weight_cache.h"

#include <iterator>
#include <utility>

namespace longconv::torch_binding {

bool PackedWeightCache::Form::is_of(const Plan& plan) const {
  return kernel == plan.chosen.kernel && dtype == plan.problem.dtype && precision == plan.problem.precision &&
         groups == plan.problem.groups && config.values == plan.chosen.config.values;
}

PackedWeightCache::State::State(const at::Tensor& weight)
    : storage(weight.storage().unsafeGetStorageImpl()), data(weight.data_ptr()), version(weight._version()) {
  for (std::size_t d = 0; d < sizes.size(); ++d) {
    sizes[d] = weight.size(static_cast<std::int64_t>(d));
    strides[d] = weight.stride(static_cast<std::int64_t>(d));
  }
}

std::optional<PackedWeightCache::Entries::iterator> PackedWeightCache::locate(const c10::TensorImpl* tensor,
                                                                              const Plan& plan, const void* stream) {
  const auto [begin, end] = index_.equal_range(tensor);
  for (auto it = begin; it != end; ++it) {
    if (it->second->stream == stream && it->second->form.is_of(plan)) return it->second;
  }
  return std::nullopt;
}

PackedWeightCache::Entries::iterator PackedWeightCache::erase(Entries::iterator entry) {
  const auto [begin, end] = index_.equal_range(entry->tensor);
  for (auto it = begin; it != end; ++it) {
    if (it->second != entry) continue;
    index_.erase(it);
    break;
  }
  bytes_ -= static_cast<std::int64_t>(entry->packed.nbytes());
  return entries_.erase(entry);
}

at::Tensor PackedWeightCache::find(const at::Tensor& weight, const Plan& plan, const void* stream) {
  const State state(weight);
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = locate(weight.unsafeGetTensorImpl(), plan, stream);
  if (!found || !((*found)->state == state)) return {};
  entries_.splice(entries_.begin(), entries_, *found);
  return (*found)->packed;
}

void PackedWeightCache::keep(const at::Tensor& weight, const Plan& plan, const void* stream, at::Tensor packed) {
  const c10::TensorImpl* const tensor = weight.unsafeGetTensorImpl();
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto old = locate(tensor, plan, stream)) erase(*old);
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    entry = entry->alive.expired() ? erase(entry) : std::next(entry);
  }
  bytes_ += static_cast<std::int64_t>(packed.nbytes());
  entries_.push_front(
      {tensor,
       c10::weak_intrusive_ptr<c10::TensorImpl>(weight.getIntrusivePtr()),
       weight.storage().getWeakStorageImpl(),
       State(weight),
       stream,
       {plan.chosen.kernel, plan.chosen.config, plan.problem.dtype, plan.problem.precision, plan.problem.groups},
       std::move(packed)});
  index_.emplace(tensor, entries_.begin());
  while (bytes_ > max_bytes_) erase(std::prev(entries_.end()));
}

void PackedWeightCache::clear() {
  const std::lock_guard<std::mutex> lock(mutex_);
  index_.clear();
  entries_.clear();
  bytes_ = 0;
}

std::int64_t PackedWeightCache::entries() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<std::int64_t>(entries_.size());
}

std::int64_t PackedWeightCache::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return bytes_;
}

}  // namespace longconv::torch_binding
