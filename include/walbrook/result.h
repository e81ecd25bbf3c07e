#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

namespace walbrook {

// What went wrong, chosen by what the caller should do about it.
enum class ErrorCode {
    // Repeat the call.
    unavailable,  // The other side does not answer or refuses for now.
    timed_out,    // No answer within the deadline; nothing has happened.
    throttled,    // The other side asks for a slower pace.
    // Repeat the unit of work (transaction, range, copy).
    aborted,   // Somebody ended it: deadlock, lost snapshot, changed table.
    conflict,  // Another writer came first.
    // Ask the destination what it holds, then decide.
    unknown_outcome,
    // We were asked to stop.
    cancelled,
    // Make the table errored; the others go on.
    malformed,          // Bytes that are not what the format allows.
    unsupported_value,  // A value that the column cannot hold exactly.
    schema_mismatch,    // Rows do not fit the schema we know.
    // Stop and tell the operator.
    fenced,  // Another process owns the pipeline or writes to its destination.
    permission,
    config,
    missing_slot,
    corrupt_state,
    internal,
};

// The name that logs, metrics and documents use, for example "timed_out".
std::string_view name_of(ErrorCode code);

// One pointer: code, message, contexts. Messages are lower case without a full
// stop and say what was attempted, on which object, what came back and what to do
// next; they never carry row values or credentials.
class [[nodiscard]] Error {
 public:
    Error(ErrorCode code, std::string message);
    Error(const Error& other);
    Error& operator=(const Error& other);
    Error(Error&&) noexcept = default;
    Error& operator=(Error&&) noexcept = default;
    ~Error() = default;

    ErrorCode code() const { return detail_->code; }
    // Contexts and message, outermost first: "copy public.t: read range 3: …".
    std::string message() const;
    // SQLSTATE of the server that refused, or empty.
    const std::string& sqlstate() const { return detail_->sqlstate; }
    // pg_class.oid of the one table that this is about, or 0: then only that table stops.
    std::uint32_t table_oid() const { return detail_->table_oid; }

    // Adds what was being done; once per layer.
    Error&& with_context(std::string_view context) &&;
    Error&& with_sqlstate(std::string_view sqlstate) &&;
    Error&& with_table(std::uint32_t oid) &&;

 private:
    struct Detail {
        ErrorCode code;
        std::string message;
        std::string context;
        std::string sqlstate;
        std::uint32_t table_oid = 0;
    };
    std::unique_ptr<Detail> detail_;
};

// Success, or an Error.
class [[nodiscard]] Status {
 public:
    Status() = default;
    Status(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

    bool ok() const { return !error_; }
    explicit operator bool() const { return ok(); }
    // Only when not ok.
    const Error& error() const& { return *error_; }
    Error&& error() && { return std::move(*error_); }
    // For the rare call whose failure changes nothing; say why beside it.
    void ignore() const {}

 private:
    std::optional<Error> error_;
};

// A value, or an Error. The names are those of std::expected.
template <class T>
class [[nodiscard]] Result {
 public:
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
    Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT
    template <class U>
        requires(std::is_convertible_v<U &&, T> && !std::is_same_v<std::decay_t<U>, T> &&
                 !std::is_same_v<std::decay_t<U>, Error> &&
                 !std::is_same_v<std::decay_t<U>, Result>)
    Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}  // NOLINT

    bool has_value() const { return state_.index() == 0; }
    explicit operator bool() const { return has_value(); }
    // Only with a value.
    T& operator*() & { return *std::get_if<0>(&state_); }
    const T& operator*() const& { return *std::get_if<0>(&state_); }
    T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
    T* operator->() { return std::get_if<0>(&state_); }
    const T* operator->() const { return std::get_if<0>(&state_); }
    // Only without a value.
    const Error& error() const& { return *std::get_if<1>(&state_); }
    Error&& error() && { return std::move(*std::get_if<1>(&state_)); }
    Status status() const { return has_value() ? Status() : Status(error()); }

 private:
    std::variant<T, Error> state_;
};

}  // namespace walbrook

#define WALBROOK_CONCAT_INNER(a, b) a##b
#define WALBROOK_CONCAT(a, b) WALBROOK_CONCAT_INNER(a, b)

// Returns the error of a Status or Result expression from the enclosing function.
#define WALBROOK_RETURN_IF_ERROR(expression)                       \
    do {                                                           \
        if (auto walbrook_status = (expression); !walbrook_status) \
            return std::move(walbrook_status).error();             \
    } while (false)

// WALBROOK_TRY(auto rows, read_rows()): declares `rows`, or returns the error.
#define WALBROOK_TRY(declaration, expression)                                  \
    auto WALBROOK_CONCAT(walbrook_result_, __LINE__) = (expression);           \
    if (!WALBROOK_CONCAT(walbrook_result_, __LINE__))                          \
        return std::move(WALBROOK_CONCAT(walbrook_result_, __LINE__)).error(); \
    declaration = *std::move(WALBROOK_CONCAT(walbrook_result_, __LINE__))
