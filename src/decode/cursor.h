#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "decode/endian.h"
#include "walbrook/lsn.h"
#include "walbrook/result.h"

namespace walbrook {

// Bytes inside a receive buffer; they die with the next read.
using FrameView = std::span<const std::byte>;

// Reads a frame from front to back. It remembers its first failure and yields zeros
// and empty strings from then on, so that a parser reads straight on and asks once,
// at the end, with finish(). What it hands out are views into the frame.
class Cursor {
 public:
    explicit Cursor(FrameView frame) : at_(frame.data()), end_(frame.data() + frame.size()) {}

    std::size_t left() const { return static_cast<std::size_t>(end_ - at_); }
    bool failed() const { return failure_ != nullptr; }

    std::uint8_t u8() { return number<std::uint8_t>(); }
    std::uint16_t u16() { return number<std::uint16_t>(); }
    std::uint32_t u32() { return number<std::uint32_t>(); }
    std::int32_t i32() { return number<std::int32_t>(); }
    std::uint64_t u64() { return number<std::uint64_t>(); }
    std::int64_t i64() { return number<std::int64_t>(); }
    Lsn lsn() { return Lsn{u64()}; }
    char letter() { return static_cast<char>(u8()); }

    FrameView bytes(std::size_t n) {
        if (left() < n) {
            fail("it ends too early");
            return {};
        }
        const FrameView view(at_, n);
        at_ += n;
        return view;
    }

    // Up to the next zero byte, which is eaten.
    std::string_view c_string() {
        const void* zero = left() == 0 ? nullptr : std::memchr(at_, 0, left());
        if (zero == nullptr) {
            fail("a string has no end");
            return {};
        }
        const auto* stop = static_cast<const std::byte*>(zero);
        const std::string_view view(reinterpret_cast<const char*>(at_),
                                    static_cast<std::size_t>(stop - at_));
        at_ = stop + 1;
        return view;
    }

    void expect(char wanted) {
        if (letter() != wanted) fail("a marker byte is wrong");
    }

    // `reason` must be a literal; only the first one is kept.
    void fail(const char* reason) {
        if (failure_ == nullptr) failure_ = reason;
        at_ = end_;
    }

    // The first failure, or an error if bytes are left over.
    [[nodiscard]] Status finish(std::string_view name) const {
        if (failure_ == nullptr && at_ == end_) [[likely]]
            return {};
        return Error(ErrorCode::malformed,
                     fmt::format("read a {} message: {}", name,
                                 failure_ != nullptr ? failure_ : "bytes are left over"));
    }

 private:
    template <class T>
    T number() {
        if (left() < sizeof(T)) {
            fail("it ends too early");
            return 0;
        }
        const T value = internal::load_big_endian<T>(at_);
        at_ += sizeof(T);
        return value;
    }

    const std::byte* at_;
    const std::byte* end_;
    const char* failure_ = nullptr;
};

}  // namespace walbrook
