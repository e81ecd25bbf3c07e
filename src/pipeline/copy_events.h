#pragma once

#include "walbrook/result.h"
#include "walbrook/schema.h"

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <vector>

namespace walbrook {

// Carries what the stream thread tells the thread that copies a table: its changes are
// held, it is published, or the copy is lost. Thread-safe. A copy opens its place before it asks
// for a hold and closes it at its end; events of others are dropped.
class CopyEvents {
 public:
    struct Told {
        std::optional<Error> error;  // Lost: why. Else what was asked for has happened.
    };

    // Returns the number of the copy: a hold may begin, and a publication be durable, after the
    // copy that asked for it was given up, and is none of the next one's.
    std::uint64_t open(TableId table);
    void close(TableId table);
    // How far the copy of a table is, as the stream knows it.
    enum class Stage : std::uint8_t { none, copying, published };
    Stage stage(TableId table) const;
    void tell(TableId table, std::optional<Error> error = std::nullopt);
    // The hold that this copy asked for has begun.
    void tell_holding(TableId table, std::uint64_t copy);
    // The last event of a copy.
    void tell_published(TableId table, std::uint64_t copy);
    // The next event of the table; nothing when stopped.
    std::optional<Told> wait(TableId table, const std::stop_token& stop);
    // Why, if the copy is known to be lost; does not take the event.
    std::optional<Error> lost(TableId table) const;

 private:
    mutable std::mutex mutex_;  // Guards places_.
    std::condition_variable_any changed_;
    struct Place {
        std::vector<Told> told;
        bool is_published = false;
        std::uint64_t copy = 0;
    };
    std::map<TableId, Place> places_;
    std::uint64_t copies_ = 0;
};

}  // namespace walbrook
