#include "walbrook/column.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "base/check.h"
#include "base/narrow.h"

namespace walbrook {

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      capacity_(std::exchange(other.capacity_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
}

Buffer::~Buffer() { std::free(data_); }

void Buffer::grow(std::size_t more) {
    const std::size_t wanted = std::max<std::size_t>({size_ + more, capacity_ * 2, 64});
    void* data = std::realloc(data_, wanted);
    if (data == nullptr) throw std::bad_alloc();
    data_ = static_cast<std::byte*>(data);
    capacity_ = wanted;
}

void Buffer::shrink(std::size_t bytes_max) {
    if (capacity_ <= bytes_max || size_ > bytes_max) return;
    if (size_ == 0) {
        std::free(std::exchange(data_, nullptr));
        capacity_ = 0;
        return;
    }
    void* data = std::realloc(data_, size_);
    if (data == nullptr) return;
    data_ = static_cast<std::byte*>(data);
    capacity_ = size_;
}

void Buffer::resize(std::size_t n) {
    if (n > size_) {
        reserve(n - size_);
        std::memset(data_ + size_, 0, n - size_);
    }
    size_ = n;
}

std::size_t value_width(TypeKind kind) {
    switch (kind) {
        case TypeKind::int16: return 2;
        case TypeKind::int32:
        case TypeKind::uint32:
        case TypeKind::float32:
        case TypeKind::date: return 4;
        case TypeKind::int64:
        case TypeKind::float64:
        case TypeKind::time:
        case TypeKind::timestamp:
        case TypeKind::timestamptz: return 8;
        case TypeKind::decimal:
        case TypeKind::uuid: return 16;
        case TypeKind::boolean:
        case TypeKind::text:
        case TypeKind::bytes:
        case TypeKind::json:
        case TypeKind::list: return 0;
    }
    return 0;
}

namespace {

bool has_offsets(const ColumnType& type) {
    return type.is_list || type.kind == TypeKind::text || type.kind == TypeKind::bytes ||
           type.kind == TypeKind::json;
}

void set_bit(Buffer& bits, std::size_t index, bool value) {
    if ((index & 7) == 0) bits.append_value(std::uint8_t{0});
    if (!value) return;
    auto* byte = reinterpret_cast<std::uint8_t*>(bits.data()) + (index >> 3);
    *byte = static_cast<std::uint8_t>(*byte | 1U << (index & 7));
}

// Clears the bits at and after `size` in the last byte, so that set_bit can go on.
void cut_bits(Buffer& bits, std::size_t size) {
    bits.resize((size + 7) / 8);
    if ((size & 7) != 0) {
        auto* last = reinterpret_cast<std::uint8_t*>(bits.data()) + (size >> 3);
        *last = static_cast<std::uint8_t>(*last & ((1U << (size & 7)) - 1));
    }
}

std::uint64_t mix(std::uint64_t h) {
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdULL;
    h ^= h >> 33;
    h *= 0xc4ceb9fe1a85ec53ULL;
    return h ^ h >> 33;
}

std::uint64_t hash_bytes(const void* from, std::size_t n) {
    std::uint64_t h = 0x9E3779B97F4A7C15ULL ^ n;
    const auto* p = static_cast<const unsigned char*>(from);
    for (; n >= 8; n -= 8, p += 8) {
        std::uint64_t word;
        std::memcpy(&word, p, 8);
        h = mix(h ^ word);
    }
    std::uint64_t tail = 0;
    if (n != 0) std::memcpy(&tail, p, n);
    return mix(h ^ tail);
}

}  // namespace

Column::Column(ColumnType type) : type_(type) {
    WALBROOK_CHECK(type.kind != TypeKind::list);
    if (has_offsets(type)) offsets_.append_value(std::int32_t{0});
    if (type.is_list) {
        ColumnType element = type;
        element.is_list = false;
        element_ = std::make_unique<Column>(element);
    }
}

std::size_t Column::bytes() const {
    return validity_.size() + values_.size() + offsets_.size() + (element_ ? element_->bytes() : 0);
}

void Column::clear() {
    size_ = 0;
    null_count_ = 0;
    validity_.clear();
    values_.clear();
    offsets_.clear();
    if (has_offsets(type_)) offsets_.append_value(std::int32_t{0});
    if (element_) element_->clear();
}

void Column::shrink(std::size_t bytes_max) {
    for (Buffer* buffer : {&validity_, &values_, &offsets_}) buffer->shrink(bytes_max);
    if (element_) element_->shrink(bytes_max);
}

void Column::mark_present() { set_bit(validity_, size_, true); }

// Batches are closed long before; only a value beyond Postgres's own limit comes here.
void Column::refuse_offset() {
    internal::check_failed("a column of at most 2 GiB", __FILE__, __LINE__);
}

void Column::append_null() {
    if (null_count_ == 0) {
        // The bitmap begins with the first null: everything before is present.
        validity_.clear();
        validity_.resize((size_ + 7) / 8);
        if (size_ != 0) std::memset(validity_.data(), 0xFF, validity_.size());
        cut_bits(validity_, size_);
    }
    set_bit(validity_, size_, false);
    ++null_count_;
    if (has_offsets(type_)) {
        append_offset(type_.is_list ? element_->size() : values_.size());
    } else if (type_.kind == TypeKind::boolean) {
        set_bit(values_, size_, false);
    } else {
        values_.resize(values_.size() + value_width(type_.kind));
    }
    ++size_;
}

void Column::append_bool(bool value) {
    set_bit(values_, size_, value);
    append_present();
}

void Column::append_list_end() {
    append_offset(element_->size());
    append_present();
}

void Column::truncate(std::size_t rows) {
    if (rows >= size_) {
        // A list whose elements were begun but not closed.
        if (element_) element_->truncate(static_cast<std::size_t>(offset_at(size_)));
        return;
    }
    if (null_count_ != 0) {
        std::size_t nulls = 0;
        for (std::size_t i = rows; i < size_; ++i) nulls += is_null(i) ? 1 : 0;
        cut_bits(validity_, rows);
        null_count_ -= nulls;
        if (null_count_ == 0) validity_.clear();
    }
    size_ = rows;
    if (has_offsets(type_)) {
        offsets_.resize((rows + 1) * sizeof(std::int32_t));
        const auto end = static_cast<std::size_t>(offset_at(rows));
        if (element_) {
            element_->truncate(end);
        } else {
            values_.resize(end);
        }
    } else if (type_.kind == TypeKind::boolean) {
        cut_bits(values_, rows);
    } else {
        values_.resize(rows * value_width(type_.kind));
    }
}

void Column::append_from(const Column& other, std::size_t row) {
    WALBROOK_CHECK(other.type_ == type_);
    if (other.is_null(row)) return append_null();
    if (type_.is_list) {
        const auto end = static_cast<std::size_t>(other.offset_at(row + 1));
        for (auto i = static_cast<std::size_t>(other.offset_at(row)); i < end; ++i) {
            element_->append_from(*other.element_, i);
        }
        return append_list_end();
    }
    if (has_offsets(type_)) return append_bytes(other.bytes_at(row));
    if (type_.kind == TypeKind::boolean) return append_bool(other.bool_at(row));
    const std::size_t width = value_width(type_.kind);
    append_fixed_bytes(other.values_.data() + row * width, width);
}

bool Column::equal(const Column& a, std::size_t row_a, const Column& b, std::size_t row_b) {
    if (a.is_null(row_a) || b.is_null(row_b)) return a.is_null(row_a) && b.is_null(row_b);
    if (a.type_.is_list) {
        const std::int32_t from_a = a.offset_at(row_a);
        const std::int32_t from_b = b.offset_at(row_b);
        const std::int32_t n = a.offset_at(row_a + 1) - from_a;
        if (n != b.offset_at(row_b + 1) - from_b) return false;
        for (std::int32_t i = 0; i < n; ++i) {
            if (!equal(*a.element_, static_cast<std::size_t>(from_a + i), *b.element_,
                       static_cast<std::size_t>(from_b + i))) {
                return false;
            }
        }
        return true;
    }
    if (has_offsets(a.type_)) return a.bytes_at(row_a) == b.bytes_at(row_b);
    if (a.type_.kind == TypeKind::boolean) return a.bool_at(row_a) == b.bool_at(row_b);
    const std::size_t width = value_width(a.type_.kind);
    return std::memcmp(a.values_.data() + row_a * width, b.values_.data() + row_b * width, width) ==
           0;
}

std::uint64_t Column::hash(std::size_t row) const {
    if (is_null(row)) return 0x5bd1e995ULL;
    if (type_.is_list) {
        std::uint64_t h = 0x27d4eb2fULL;
        const auto end = static_cast<std::size_t>(offset_at(row + 1));
        for (auto i = static_cast<std::size_t>(offset_at(row)); i < end; ++i) {
            h = mix(h ^ element_->hash(i));
        }
        return mix(h);
    }
    if (has_offsets(type_)) {
        const std::string_view value = bytes_at(row);
        return hash_bytes(value.data(), value.size());
    }
    if (type_.kind == TypeKind::boolean) return mix(bool_at(row) ? 2 : 1);
    const std::size_t width = value_width(type_.kind);
    return hash_bytes(values_.data() + row * width, width);
}

}  // namespace walbrook
