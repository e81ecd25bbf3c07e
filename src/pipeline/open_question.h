#pragma once

#include "base/clock.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace walbrook {

// What the stream waits for: see action::Describe.
struct CatalogQuestion {
    std::uint64_t request = 0;
    std::uint32_t relation = 0;
    std::uint32_t xid = 0;
    std::uint64_t after = 0;  // Looks with a higher number began later.
};

// The question that the catalog is to answer, and when it is looked at for that. A plain object.
class OpenQuestion {
 public:
    // The core asks one at a time: an older one is moot, however long it would be looked for.
    void ask(const CatalogQuestion& question, Instant at);
    // Nobody waits for an answer any more.
    void withdraw() { question_.reset(); }
    const std::optional<CatalogQuestion>& get() const { return question_; }
    // When it is to be looked for; never: none is open.
    Instant due() const { return question_ ? due_ : Instant::max(); }
    // A look has not seen the transaction yet.
    void not_seen(Instant at);
    // What is waited for, once that takes long; else empty.
    std::string trouble(Instant at) const;

 private:
    std::optional<CatalogQuestion> question_;
    Instant asked_{};
    Instant due_{};
    std::chrono::milliseconds pause_{0};  // Before the next look.
    bool is_unseen_ = false;
};

}  // namespace walbrook
