#include "pipeline/open_question.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A commit may be in the log for a moment before it can be seen, or for as long as it waits for a
// synchronous standby.
constexpr milliseconds kUnseenPauseMin{5};
constexpr milliseconds kUnseenPauseMax{1000};
constexpr seconds kUnseenQuietly{5};

}  // namespace

void OpenQuestion::ask(const CatalogQuestion& question, Instant at) {
    question_ = question;
    asked_ = due_ = at;
    pause_ = kUnseenPauseMin;
    is_unseen_ = false;
}

void OpenQuestion::not_seen(Instant at) {
    is_unseen_ = true;
    due_ = at + pause_;
    pause_ = std::min(2 * pause_, kUnseenPauseMax);
}

std::string OpenQuestion::trouble(Instant at) const {
    if (!question_ || !is_unseen_ || at - asked_ < kUnseenQuietly) return {};
    return fmt::format(
        "the stream waits for transaction {}, which has committed but cannot be seen yet: does it "
        "wait for a synchronous standby?",
        question_->xid);
}

}  // namespace walbrook
