#pragma once

#include "walbrook/batch.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

// What does not fit in memory waits in files under work_dir: changes that a table's copy
// holds back, and streamed transactions that have not committed. Nothing in them is ever
// needed by another process (docs/design/spill.md), so a file has no name, and is gone
// with the process. One record is compressed and checked at a time.
//
// Errors: ErrorCode::unavailable when the disk is full or does not work (after a failed
// append all that was appended before can still be read), ErrorCode::corrupt_state when
// what is read is not what was written.

namespace walbrook {

namespace internal {
class RecordFile;
}  // namespace internal

// Removes what a crash may have left in the directory. At the start, before any file is
// made there, by the one process that owns the directory.
Status sweep_spill_files(const std::string& directory);

// Change batches on disk. Thread-safe: what is in the file may be read by one thread
// while another appends.
class SpillFile {
 public:
    // The directory must exist and be private to us.
    static Result<std::unique_ptr<SpillFile>> create(const std::string& directory);
    ~SpillFile();

    // Returns the number under which the batch can be read, counted from 0. Its `copy`
    // is not kept: who holds the number knows it.
    Result<std::size_t> append(const ChangeBatch& batch);
    // As often and in whatever order. `schema` is the one the batch was made with.
    Result<ChangeBatch> read(std::size_t number, const TableSchemaPtr& schema) const;
    // Batches in the file.
    std::size_t size() const;
    std::uint64_t bytes_on_disk() const;

 private:
    explicit SpillFile(std::unique_ptr<internal::RecordFile> file);

    std::unique_ptr<internal::RecordFile> file_;
};

// The messages of one streamed transaction as they came, until its commit tells what
// becomes of them: in memory first, in a file beyond the limit. Used by one thread; read
// after the last append.
class FrameSpool {
 public:
    struct Frame {
        std::uint32_t subxid = 0;  // The subtransaction that the message belongs to.
        Lsn position;              // Where it stands in the log.
        std::span<const std::byte> bytes;
    };

    // Makes no file before `memory_bytes_max` is reached. A record of the file, and what is
    // read back at once, has about `chunk_bytes`.
    FrameSpool(std::string directory, std::size_t memory_bytes_max, std::size_t chunk_bytes);
    ~FrameSpool();
    FrameSpool(FrameSpool&&) noexcept;
    FrameSpool& operator=(FrameSpool&&) noexcept;

    Status append(std::uint32_t subxid, Lsn position, std::span<const std::byte> bytes);
    // Moves what is in memory to the file, the limit reached or not. Not while it is read.
    Status spill();
    // The frames of this subtransaction, those to come included, are not read back.
    // (Postgres sends a Stream Abort for each subtransaction, nested ones too.)
    void abort(std::uint32_t subxid) { aborted_.insert(subxid); }

    std::uint64_t frames() const { return frames_; }  // Appended; aborted ones included.
    std::uint64_t bytes_in_memory() const;
    std::uint64_t bytes_on_disk() const;

    // The next frame that was not aborted, in the order of append; valid until the next
    // call. nullptr at the end.
    Result<const Frame*> next();
    void rewind();

 private:
    Status load_next_chunk();

    std::string directory_;
    std::size_t memory_bytes_max_;
    std::size_t chunk_bytes_;
    std::unordered_set<std::uint32_t> aborted_;
    std::uint64_t frames_ = 0;
    std::unique_ptr<internal::RecordFile> file_;  // The oldest frames,
    std::vector<Buffer> chunks_;                  // then these,
    std::size_t chunks_bytes_ = 0;
    Buffer tail_;                                 // and the newest.

    // Reading: chunks are the records of the file, then chunks_, then tail_.
    std::size_t chunk_ = 0;  // The next one to be loaded.
    Buffer loaded_;
    std::span<const std::byte> unread_;
    Frame frame_;
};

}  // namespace walbrook
