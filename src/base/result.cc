#include "walbrook/result.h"

namespace walbrook {

std::string_view name_of(ErrorCode code) {
    switch (code) {
        case ErrorCode::unavailable:
            return "unavailable";
        case ErrorCode::timed_out:
            return "timed_out";
        case ErrorCode::throttled:
            return "throttled";
        case ErrorCode::aborted:
            return "aborted";
        case ErrorCode::conflict:
            return "conflict";
        case ErrorCode::unknown_outcome:
            return "unknown_outcome";
        case ErrorCode::cancelled:
            return "cancelled";
        case ErrorCode::malformed:
            return "malformed";
        case ErrorCode::unsupported_value:
            return "unsupported_value";
        case ErrorCode::schema_mismatch:
            return "schema_mismatch";
        case ErrorCode::permission:
            return "permission";
        case ErrorCode::config:
            return "config";
        case ErrorCode::fenced:
            return "fenced";
        case ErrorCode::missing_slot:
            return "missing_slot";
        case ErrorCode::corrupt_state:
            return "corrupt_state";
        case ErrorCode::internal:
            return "internal";
    }
    return "internal";
}

Error::Error(ErrorCode code, std::string message)
    : detail_(std::make_unique<Detail>(Detail{code, std::move(message), {}, {}, 0})) {}

Error::Error(const Error& other) : detail_(std::make_unique<Detail>(*other.detail_)) {}

Error& Error::operator=(const Error& other) {
    if (this != &other) detail_ = std::make_unique<Detail>(*other.detail_);
    return *this;
}

std::string Error::message() const {
    if (detail_->context.empty()) return detail_->message;
    return detail_->context + ": " + detail_->message;
}

Error&& Error::with_context(std::string_view context) && {
    std::string& all = detail_->context;
    all = all.empty() ? std::string(context) : std::string(context) + ": " + all;
    return std::move(*this);
}

Error&& Error::with_sqlstate(std::string_view sqlstate) && {
    detail_->sqlstate = sqlstate;
    return std::move(*this);
}

Error&& Error::with_table(std::uint32_t oid) && {
    detail_->table_oid = oid;
    return std::move(*this);
}

}  // namespace walbrook
