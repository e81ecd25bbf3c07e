#include "pipeline/store_patience.h"

#include "pipeline/error_policy.h"

#include <fmt/format.h>

#include <utility>

namespace walbrook {

Status StorePatience::note(const Status& status, Instant at) {
    if (status) {
        backoff_.reset();
        due_ = {};
        set_trouble({});
        return {};
    }
    const Error& error = status.error();
    std::string text = fmt::format("the store does not take {}", what_);
    // A mismatch: its own tables are gone, or another program's.
    if (reaction_to(error.code()) == Reaction::stop || error.code() == ErrorCode::schema_mismatch) {
        return Error(error).with_context(text);
    }
    due_ = at + backoff_.next();
    text += ": " + error.message();
    // Once: it may be asked for days.
    if (text != trouble()) {
        log_.failed(LogLevel::warn, fmt::format("the store does not take {}; trying again", what_),
                    error);
    }
    set_trouble(std::move(text));
    return {};
}

std::string StorePatience::trouble() const {
    const std::lock_guard lock(mutex_);
    return trouble_;
}

void StorePatience::set_trouble(std::string text) {
    const std::lock_guard lock(mutex_);
    trouble_ = std::move(text);
}

}  // namespace walbrook
