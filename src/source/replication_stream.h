#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "postgres/connection.h"
#include "source/large_reads.h"
#include "walbrook/lsn.h"

namespace walbrook {

struct StreamOptions {
    std::string slot;
    std::string publication;
    Lsn start;            // Transactions that end at or before it are not sent.
    bool binary = false;  // Values in binary: only when every type has an exact decoder.
};

// What came from the server. `payload` lives until the next call.
struct StreamEvent {
    enum class Kind { none, frame, keepalive };
    Kind kind = Kind::none;  // none: nothing has arrived; wait on fd().
    std::span<const std::byte> payload;  // frame: one pgoutput message.
    Lsn wal_end;                         // keepalive: all before it has been sent.
    bool reply_requested = false;        // keepalive.
};

// The replication connection of a pipeline, streaming (Postgres manual, "Streaming
// Replication Protocol"): CopyData frames 'w' (XLogData: start Int64, end Int64, time
// Int64, data) and 'k' (keepalive: end Int64, time Int64, reply Byte) arrive; 'r'
// (status: written, flushed, applied Int64, time Int64, reply Byte) is sent.
// Owned by one thread; reading never blocks.
class ReplicationStream {
 public:
    static Result<std::unique_ptr<ReplicationStream>> start(Connection connection,
                                                            const StreamOptions& options,
                                                            const Deadline& deadline);
    ~ReplicationStream();

    // The next event that is here already, reading the socket once if there is none.
    // ErrorCode::unavailable when the connection is gone; malformed for a frame that
    // the protocol does not know.
    Result<StreamEvent> next();
    // What poll(2) should wait on for more.
    int fd() const;
    // More may be waiting inside libpq or TLS, which poll(2) cannot see.
    bool may_have_more() const { return may_have_more_; }

    // While much is expected poll(2) should wake for much (LargeReads): whoever switches
    // this on waits at most LargeReads::kPatienceMs before the next read.
    void expect_much(bool is_on);

    // Tells the server how far we are: it may forget everything before `flushed`.
    Status send_status(Lsn received, Lsn flushed, bool ask_reply);

    int server_version() const { return connection_.server_version(); }

 private:
    explicit ReplicationStream(Connection connection) : connection_(std::move(connection)) {}
    void release();
    Result<StreamEvent> parse(std::span<const std::byte> data);

    Connection connection_;
    std::optional<LargeReads> large_reads_;
    char* buffer_ = nullptr;  // The message that the last event points into; libpq's.
    bool may_have_more_ = true;
};

}  // namespace walbrook
