#include "decode/decoders.h"
#include "decode/endian.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>

// Arrays, into list columns. The binary form (array_send in
// src/backend/utils/adt/arrayfuncs.c), numbers of 32 bits in network order:
//
//     ndim     0 for an empty array, at most 6
//     flags    1 if an element may be NULL (none need be), else 0
//     element  oid of the element type
//     ndim times: length, lower bound
//     for each element: length or -1 for NULL, and its bytes
//
// The text form (array_out): "{1,NULL,\"a b\"}", elements in quotes with backslashes
// where they need it and nowhere else, and "[0:1]={1,2}" where a lower bound is not 1.
namespace walbrook::internal {
namespace {

constexpr std::int32_t kDimensionsMax = 6;  // MAXDIM
// Oids from here on are given by initdb or users, so they may be domains.
constexpr std::uint32_t kFirstGeneratedOid = 10'000;  // FirstGenbkiObjectId

// What is left of an array in binary form; `ok` turns false when it ends too early.
class ArrayReader {
 public:
    explicit ArrayReader(std::string_view bytes) : bytes_(bytes) {}

    bool ok() const { return ok_; }
    std::size_t left() const { return bytes_.size(); }

    std::int32_t number() {
        const std::string_view taken = take(sizeof(std::int32_t));
        return ok_ ? load_big_endian<std::int32_t>(taken.data()) : 0;
    }

    std::string_view take(std::size_t n) {
        if (bytes_.size() < n) {
            ok_ = false;
            bytes_ = {};
            return {};
        }
        const std::string_view taken = bytes_.substr(0, n);
        bytes_.remove_prefix(n);
        return taken;
    }

 private:
    std::string_view bytes_;
    bool ok_ = true;
};

// array_send names the element type as declared, and our schema has domains
// resolved: a domain's values are sent as its base type's.
bool element_agrees(std::uint32_t sent, std::uint32_t known) {
    return sent == known || sent >= kFirstGeneratedOid;
}

// Reads all before the elements. ok: `count` elements follow, and none of them is NULL
// unless `has_null_bitmap`.
Fit read_array_header(ArrayReader& in, std::uint32_t element_oid, std::size_t& count,
                      bool& has_null_bitmap) {
    const std::int32_t dimensions = in.number();
    const std::int32_t flags = in.number();
    const auto sent = static_cast<std::uint32_t>(in.number());
    if (!in.ok() || dimensions < 0 || dimensions > kDimensionsMax || (flags != 0 && flags != 1) ||
        !element_agrees(sent, element_oid)) {
        return Fit::malformed;
    }
    std::int32_t length = 0;
    std::int32_t lower_bound = 1;
    for (std::int32_t i = 0; i < dimensions; ++i) {
        length = in.number();
        lower_bound = in.number();
        if (!in.ok() || length < 0) return Fit::malformed;
    }
    if (dimensions > 1) return Fit::unsupported;
    has_null_bitmap = flags == 1;
    count = static_cast<std::size_t>(length);
    // array_out() prints every array without elements as "{}". An oidvector that was
    // cast to oid[] has a dimension of length 0. Null bitmaps belong to elements.
    if (count == 0) return has_null_bitmap ? Fit::malformed : Fit::ok;
    if (lower_bound != 1) return Fit::unsupported;
    // Each element takes four bytes at least.
    return count <= in.left() / sizeof(std::int32_t) ? Fit::ok : Fit::malformed;
}

bool has_room_for_elements(const Column& out, std::size_t count) {
    constexpr std::size_t elements_max = std::numeric_limits<std::int32_t>::max();
    return count <= elements_max && out.element().size() <= elements_max - count;
}

// Only "NULL" is NULL, but array_out() puts the word in quotes in any case of letters.
bool is_null_word(std::string_view text) {
    return text.size() == 4 && (text[0] | 0x20) == 'n' && (text[1] | 0x20) == 'u' &&
           (text[2] | 0x20) == 'l' && (text[3] | 0x20) == 'l';
}

// The bytes that put an element in quotes, beside the delimiter: array_isspace() and
// what has a meaning of its own.
constexpr auto kQuotedBytes = [] {
    std::array<bool, 256> quoted{};
    for (const char c : {'"', '\\', '{', '}', ' ', '\t', '\n', '\r', '\v', '\f'}) {
        quoted[static_cast<unsigned char>(c)] = true;
    }
    return quoted;
}();

bool is_quoted_byte(char c) { return kQuotedBytes[static_cast<unsigned char>(c)]; }

// Reads the elements of a text array one by one.
class ArrayText {
 public:
    struct Element {
        std::string_view text;  // Until the next call.
        bool is_null = false;
    };

    // `inside` is what stands after the opening brace.
    ArrayText(std::string_view inside, char delimiter) : rest_(inside), delimiter_(delimiter) {}

    bool ended() const { return ended_; }

    // The closing brace of an empty array.
    bool take_empty() {
        ended_ = rest_ == "}";
        return ended_;
    }

    Fit next(Element& out) {
        if (rest_.starts_with('{')) return Fit::unsupported;
        const bool quoted = rest_.starts_with('"');
        if (!(quoted ? take_quoted(out) : take_plain(out))) return Fit::malformed;
        if (rest_.empty()) return Fit::malformed;
        const char after = rest_[0];
        rest_.remove_prefix(1);
        ended_ = after == '}';
        if (ended_) return rest_.empty() ? Fit::ok : Fit::malformed;
        return after == delimiter_ ? Fit::ok : Fit::malformed;
    }

 private:
    bool take_plain(Element& out) {
        std::size_t n = 0;
        while (n < rest_.size() && rest_[n] != delimiter_ && !is_quoted_byte(rest_[n])) ++n;
        out.text = rest_.substr(0, n);
        out.is_null = out.text == "NULL";
        rest_.remove_prefix(n);
        return n != 0 && (out.is_null || !is_null_word(out.text));
    }

    bool needs_quotes(std::string_view text) const {
        return text.empty() || is_null_word(text) ||
               std::any_of(text.begin(), text.end(),
                           [&](char c) { return c == delimiter_ || is_quoted_byte(c); });
    }

    bool take_quoted(Element& out) {
        rest_.remove_prefix(1);
        out.is_null = false;
        std::size_t n = rest_.find_first_of("\"\\");
        if (n == std::string_view::npos) return false;
        if (rest_[n] == '"') {
            out.text = rest_.substr(0, n);
            rest_.remove_prefix(n + 1);
            return needs_quotes(out.text);
        }
        unescaped_.clear();
        while (n != std::string_view::npos) {
            unescaped_.append(rest_.substr(0, n));
            if (rest_[n] == '"') {
                out.text = unescaped_;
                rest_.remove_prefix(n + 1);
                return true;
            }
            const char escaped = n + 1 < rest_.size() ? rest_[n + 1] : char{0};
            if (escaped != '"' && escaped != '\\') return false;
            unescaped_.push_back(escaped);
            rest_.remove_prefix(n + 2);
            n = rest_.find_first_of("\"\\");
        }
        return false;
    }

    std::string_view rest_;
    char delimiter_;
    bool ended_ = false;
    std::string unescaped_;
};

}  // namespace

Status decode_array_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    ArrayReader in(bytes);
    std::size_t count;
    bool has_null_bitmap = false;
    const Fit fit = read_array_header(in, column.element_type_oid, count, has_null_bitmap);
    if (fit != Fit::ok) return unfit(fit, column);
    if (!has_room_for_elements(out, count)) return column_full(column);
    const DecodeValue decode = binary_decoder(column.element_type_oid, column.type.kind);
    if (decode == nullptr) return unfit(Fit::malformed, column);
    Column& elements = out.element();
    for (std::size_t i = 0; i < count; ++i) {
        const std::int32_t length = in.number();
        if (length == -1 && has_null_bitmap && in.ok()) {
            elements.append_null();
            continue;
        }
        if (length < 0) return unfit(Fit::malformed, column);
        const std::string_view element = in.take(static_cast<std::size_t>(length));
        if (!in.ok()) return unfit(Fit::malformed, column);
        WALBROOK_RETURN_IF_ERROR(decode(column, element, elements));
    }
    if (!in.ok() || in.left() != 0) return unfit(Fit::malformed, column);
    out.append_list_end();
    return {};
}

Status decode_array_text(const ColumnSchema& column, std::string_view text, Column& out) {
    // Postgres prints bounds only where one of them is not 1.
    if (text.starts_with('[')) return unfit(Fit::unsupported, column);
    if (!text.starts_with('{')) return unfit(Fit::malformed, column);
    text.remove_prefix(1);
    // Bounds the number of elements too.
    if (!has_room_for_elements(out, text.size())) return column_full(column);
    const DecodeValue decode = text_decoder(column.element_type_oid, column.type.kind);
    ArrayText in(text, column.element_delimiter);
    Column& elements = out.element();
    ArrayText::Element element;
    if (!in.take_empty()) {
        while (!in.ended()) {
            const Fit fit = in.next(element);
            if (fit != Fit::ok) return unfit(fit, column);
            if (element.is_null) {
                elements.append_null();
            } else {
                WALBROOK_RETURN_IF_ERROR(decode(column, element.text, elements));
            }
        }
    }
    out.append_list_end();
    return {};
}

}  // namespace walbrook::internal
