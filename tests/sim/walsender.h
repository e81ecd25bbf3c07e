#pragma once

#include "sim/random.h"
#include "sim/source.h"

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace walbrook::sim {

struct WalsenderOptions {
    bool is_binary = false;
    bool sends_empty_transactions = false;  // As version 14 does.
    bool streams = true;
    bool tells_ddl = false;          // The event triggers are there (pipeline/ddl_messages.h).
    bool waits_for_standby = false;  // synchronized_standby_slots
    std::uint64_t unreadable_per_mille = 0;  // Values that no decoder takes, in tables 3 to 5.
    std::function<void(std::size_t)> on_unreadable;
};

// One replication connection as the server sees it: decodes the log from the oldest
// transaction that had not ended at `from`, and sends what commits at `from` or later
// (SnapBuildXactNeedsSkip). Large transactions are streamed while they run.
class Walsender {
 public:
    // A frame of pgoutput, or a keepalive where `frame` is empty.
    struct Message {
        std::string frame;
        Lsn wal_end;
    };

    // `restart`: how many records earlier than it must it begins to decode.
    Walsender(const Source& source, Random& random, WalsenderOptions options, Lsn from,
              std::size_t restart);

    // The next message; decodes as far as is needed. Nothing when the log ends at `limit`.
    std::optional<Message> next(Lsn limit);
    bool has_more() const { return !out_.empty() || next_record_ < source_.wal().size(); }
    Message keepalive() const { return {{}, sent_}; }

 private:
    struct Decoded {
        std::vector<const Op*> changes;  // Not yet sent.
        bool is_streamed = false;
        std::set<std::uint64_t> streamed_subxids;
        std::map<std::uint32_t, VersionPtr> relations;  // Sent in this stream, by oid.
    };

    void decode(const WalRecord& record);
    void on_commit(const WalRecord& record, Decoded& tx);
    void stream_chunk(std::size_t index, Decoded& tx);
    void send_change(const Op& op, Decoded* streamed);
    void describe(const Op& op, std::uint32_t relation, const VersionPtr& version,
                  Decoded* streamed);
    void tell_ddl(const Op& op, Decoded* streamed);
    void send(std::string frame);

    const Source& source_;
    Random& random_;
    const WalsenderOptions options_;
    const Lsn from_;
    std::size_t next_record_ = 0;
    Lsn sent_;  // End of the last record that was dealt with.
    std::map<std::size_t, Decoded> open_;
    std::map<std::uint32_t, VersionPtr> relations_;  // Sent outside of streams.
    std::deque<Message> out_;
};

}  // namespace walbrook::sim
