#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

#include "base/check.h"

namespace walbrook {

// A fixed number of items between threads. The bound is what makes a slow
// destination slow the source instead of filling memory.
template <class T>
class BoundedQueue {
 public:
    explicit BoundedQueue(std::size_t items_max) : items_max_(items_max) {
        WALBROOK_CHECK(items_max > 0);
    }
    // Waits while full. False if closed or stopped; `item` is then untouched.
    [[nodiscard]] bool put(T& item, const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, stop, [&] { return closed_ || items_.size() < items_max_; });
        if (closed_ || items_.size() >= items_max_) return false;
        items_.push_back(std::move(item));
        changed_.notify_all();
        return true;
    }
    // Never waits. False if full or closed; `item` is then untouched.
    [[nodiscard]] bool try_put(T& item) {
        const std::lock_guard lock(mutex_);
        if (closed_ || items_.size() >= items_max_) return false;
        items_.push_back(std::move(item));
        changed_.notify_all();
        return true;
    }
    // Waits while empty. Nothing once closed and drained, or stopped.
    [[nodiscard]] std::optional<T> take(const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, stop, [&] { return closed_ || !items_.empty(); });
        return pop();
    }
    // Waits at most `limit`; nothing also when that is over.
    template <class Duration>
    [[nodiscard]] std::optional<T> take_for(Duration limit, const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, stop, limit, [&] { return closed_ || !items_.empty(); });
        return pop();
    }
    [[nodiscard]] std::optional<T> try_take() {
        const std::lock_guard lock(mutex_);
        return pop();
    }
    // Refuses further puts; what is inside can still be taken.
    void close() {
        const std::lock_guard lock(mutex_);
        closed_ = true;
        changed_.notify_all();
    }
    [[nodiscard]] bool is_closed() const {
        const std::lock_guard lock(mutex_);
        return closed_;
    }
    [[nodiscard]] std::size_t size() const {
        const std::lock_guard lock(mutex_);
        return items_.size();
    }

 private:
    std::optional<T> pop() {
        if (items_.empty()) return std::nullopt;
        std::optional<T> item(std::move(items_.front()));
        items_.pop_front();
        changed_.notify_all();
        return item;
    }

    const std::size_t items_max_;
    mutable std::mutex mutex_;  // Guards everything below.
    std::condition_variable_any changed_;
    std::deque<T> items_;
    bool closed_ = false;
};

}  // namespace walbrook
