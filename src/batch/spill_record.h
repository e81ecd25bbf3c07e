#pragma once

#include "walbrook/column.h"
#include "walbrook/result.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace walbrook::internal {

// A record of a spill file, in the byte order of the machine (these files never
// outlive the process that wrote them):
//
//    0  u32  magic "WBSR"
//    4  u16  format version
//    6  u16  kind
//    8  u64  bytes of the content
//   16  u64  bytes of the payload
//   24  u64  checksum over bytes 0 to 23 and the payload
//   32       payload: the content as one zstd frame
inline constexpr std::uint16_t kSpillFormat = 1;
inline constexpr std::size_t kSpillHeaderBytes = 32;

enum class RecordKind : std::uint16_t { changes = 1, frames = 2 };

// Appends the record of `content` to `out`.
Status seal_record(RecordKind kind, std::span<const std::byte> content, Buffer& out);
// Replaces `content` by what the record holds. ErrorCode::corrupt_state unless every
// byte of the record is as it was written.
Status open_record(RecordKind kind, std::span<const std::byte> record, Buffer& content);

// Changes whenever one bit of the input does.
std::uint64_t checksum(std::uint64_t seed, std::span<const std::byte> bytes);

// Records in a file that has no name: its space is free again when it is closed, also
// by a crash. Thread-safe.
class RecordFile {
 public:
    // ErrorCode::unavailable when the file cannot be made.
    static Result<std::unique_ptr<RecordFile>> create(const std::string& directory);
    ~RecordFile();
    RecordFile(const RecordFile&) = delete;
    RecordFile& operator=(const RecordFile&) = delete;

    // Returns the number of the record, from 0. ErrorCode::unavailable when the disk is
    // full; the file is then as before.
    Result<std::size_t> append(RecordKind kind, std::span<const std::byte> content);
    Status read(std::size_t number, RecordKind kind, Buffer& content) const;
    std::size_t records() const;
    std::uint64_t bytes() const;

 private:
    struct Place {
        std::uint64_t offset;
        std::size_t size;
    };
    RecordFile(int descriptor, std::string directory);

    const int descriptor_;
    const std::string directory_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::vector<Place> places_;
    std::uint64_t end_ = 0;
    Buffer sealed_;  // Keeps its room between appends.
};

}  // namespace walbrook::internal
