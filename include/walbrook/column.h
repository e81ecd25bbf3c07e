#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "walbrook/schema.h"

namespace walbrook {

// Bytes that grow by doubling and keep their room when cleared, so that a batch
// that is filled again and again soon stops asking for memory. The append
// functions marked unchecked need a `reserve` before: the hot path reserves once
// for a row and then writes.
class Buffer {
 public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer();

    const std::byte* data() const { return data_; }
    std::byte* data() { return data_; }
    std::size_t size() const { return size_; }
    std::size_t capacity() const { return capacity_; }

    void clear() { size_ = 0; }
    // Gives the memory back when more than `bytes_max` is held.
    void shrink(std::size_t bytes_max);
    // Makes room for `more` bytes after the present end.
    void reserve(std::size_t more) {
        if (capacity_ - size_ < more) grow(more);
    }
    void append(const void* from, std::size_t n) {
        reserve(n);
        if (n != 0) std::memcpy(data_ + size_, from, n);
        size_ += n;
    }
    template <class T>
    void append_value(T value) {
        reserve(sizeof(T));
        append_value_unchecked(value);
    }
    template <class T>
    void append_value_unchecked(T value) {
        std::memcpy(data_ + size_, &value, sizeof(T));
        size_ += sizeof(T);
    }
    // Grows or cuts; new bytes are zero.
    void resize(std::size_t n);
    // Counts bytes as in use that the caller has written behind the end, within capacity.
    void set_size(std::size_t n) { size_ = n; }

 private:
    void grow(std::size_t more);

    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

// Bytes that one value of a fixed-width kind takes; 0 for text, bytes and json,
// and for boolean, which takes a bit.
std::size_t value_width(TypeKind kind);

// The values of one column, in the layout of an Arrow array of its kind (schema.h
// says which). Built by appending, then read; clear() keeps the memory.
// Not thread-safe; a finished column may be read from several threads.
class Column {
 public:
    explicit Column(ColumnType type);
    Column(Column&&) noexcept = default;
    Column& operator=(Column&&) noexcept = default;

    const ColumnType& type() const { return type_; }
    std::size_t size() const { return size_; }
    std::size_t null_count() const { return null_count_; }
    // Bytes in use, for budgets.
    std::size_t bytes() const;
    void clear();
    void shrink(std::size_t bytes_max);

    // --- Building. Which append fits which kind is the caller's duty (CHECKed).
    void append_null();
    void append_bool(bool value);
    // Fixed-width kinds; sizeof(T) must be value_width(kind).
    template <class T>
    void append_fixed(T value) {
        values_.append_value(value);
        append_present();
    }
    // decimal and uuid: exactly value_width(kind) bytes.
    void append_fixed_bytes(const void* from, std::size_t width) {
        values_.append(from, width);
        append_present();
    }
    // text, bytes, json.
    void append_bytes(std::string_view value) {
        values_.append(value.data(), value.size());
        append_offset(values_.size());
        append_present();
    }
    // Lists: append the elements to element(), then close the list.
    Column& element() { return *element_; }
    const Column& element() const { return *element_; }
    void append_list_end();
    // Takes back rows from the end, so that a row that failed in the middle of its
    // columns leaves nothing behind.
    void truncate(std::size_t rows);
    // Copies one value of a column of the same type.
    void append_from(const Column& other, std::size_t row);

    // --- Reading.
    bool is_null(std::size_t row) const {
        return null_count_ != 0 &&
               (std::to_integer<unsigned>(validity_.data()[row >> 3]) >> (row & 7) & 1U) == 0;
    }
    bool bool_at(std::size_t row) const {
        return (std::to_integer<unsigned>(values_.data()[row >> 3]) >> (row & 7) & 1U) != 0;
    }
    template <class T>
    T fixed_at(std::size_t row) const {
        T value;
        std::memcpy(&value, values_.data() + row * sizeof(T), sizeof(T));
        return value;
    }
    std::string_view bytes_at(std::size_t row) const {
        const std::int32_t from = offset_at(row);
        return {reinterpret_cast<const char*>(values_.data()) + from,
                static_cast<std::size_t>(offset_at(row + 1) - from)};
    }
    // Lists: [first, second) in element().
    std::int32_t offset_at(std::size_t row) const {
        std::int32_t value;
        std::memcpy(&value, offsets_.data() + row * sizeof value, sizeof value);
        return value;
    }
    // True when both hold the same value: nulls equal nulls, floats by bits.
    static bool equal(const Column& a, std::size_t row_a, const Column& b, std::size_t row_b);
    // A hash that agrees with equal().
    std::uint64_t hash(std::size_t row) const;

    // The raw buffers in Arrow's layout. validity is null when nothing is null.
    const std::byte* validity() const { return null_count_ != 0 ? validity_.data() : nullptr; }
    const Buffer& values() const { return values_; }
    const Buffer& offsets() const { return offsets_; }

 private:
    void append_present() {
        if (null_count_ != 0) mark_present();
        ++size_;
    }
    void append_offset(std::size_t end) {
        if (end > kOffsetMax) [[unlikely]] refuse_offset();
        offsets_.append_value(static_cast<std::int32_t>(end));
    }
    void mark_present();
    [[noreturn]] static void refuse_offset();

    static constexpr std::size_t kOffsetMax = 0x7FFFFFFF;

    ColumnType type_;
    std::size_t size_ = 0;
    std::size_t null_count_ = 0;
    Buffer validity_;  // Empty until the first null.
    Buffer values_;
    Buffer offsets_;
    std::unique_ptr<Column> element_;
};

}  // namespace walbrook
