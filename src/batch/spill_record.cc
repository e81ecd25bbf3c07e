#include "batch/spill_record.h"

#include "base/check.h"
#include "base/failpoints.h"

#include <fmt/format.h>
#include <zstd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace walbrook::internal {
namespace {

constexpr std::array<char, 4> kMagic = {'W', 'B', 'S', 'R'};
// Compression must keep up with the stream; level 1 is the fastest of zstd's own.
constexpr int kLevel = 1;

struct Header {
    std::array<char, 4> magic = kMagic;
    std::uint16_t format = kSpillFormat;
    std::uint16_t kind = 0;
    std::uint64_t content_bytes = 0;
    std::uint64_t payload_bytes = 0;
    std::uint64_t check = 0;
};
static_assert(sizeof(Header) == kSpillHeaderBytes);

std::uint64_t check_of(std::span<const std::byte> record) {
    const std::uint64_t head = checksum(0, record.first(offsetof(Header, check)));
    return checksum(head, record.subspan(kSpillHeaderBytes));
}

Error corrupt(std::string_view what) {
    return Error(ErrorCode::corrupt_state,
                 fmt::format("read a spill file: {}; the disk or its memory is faulty", what));
}

std::string reason(int error) { return std::system_category().message(error); }

bool is_full(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

}  // namespace

std::uint64_t checksum(std::uint64_t seed, std::span<const std::byte> bytes) {
    // Every step is a bijection of `h`, so one changed word always shows.
    const auto step = [](std::uint64_t h, std::uint64_t word) {
        h = (h ^ word) * 0x9FB21C651E98DF25ULL;
        return h ^ h >> 29;
    };
    std::uint64_t h = step(seed + 0x9E3779B97F4A7C15ULL, bytes.size());
    std::size_t i = 0;
    for (; i + 8 <= bytes.size(); i += 8) {
        std::uint64_t word;
        std::memcpy(&word, bytes.data() + i, 8);
        h = step(h, word);
    }
    std::uint64_t tail = 0;
    if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
    return step(step(h, tail), 0);
}

Status seal_record(RecordKind kind, std::span<const std::byte> content, Buffer& out) {
    const std::size_t start = out.size();
    const std::size_t bound = ZSTD_compressBound(content.size());
    out.resize(start + kSpillHeaderBytes + bound);
    const std::size_t size = ZSTD_compress(out.data() + start + kSpillHeaderBytes, bound,
                                           content.data(), content.size(), kLevel);
    if (ZSTD_isError(size) != 0U) {
        return Error(ErrorCode::internal,
                     fmt::format("compress for a spill file: {}", ZSTD_getErrorName(size)));
    }
    Header header;
    header.kind = static_cast<std::uint16_t>(kind);
    header.content_bytes = content.size();
    header.payload_bytes = size;
    std::memcpy(out.data() + start, &header, sizeof header);
    out.resize(start + kSpillHeaderBytes + size);
    header.check = check_of(std::span(out.data(), out.size()).subspan(start));
    std::memcpy(out.data() + start, &header, sizeof header);
    return {};
}

Status open_record(RecordKind kind, std::span<const std::byte> record, Buffer& content) {
    Header header;
    if (record.size() < sizeof header) return corrupt("a record is shorter than its header");
    std::memcpy(&header, record.data(), sizeof header);
    if (header.magic != kMagic) return corrupt("a record does not begin as one");
    if (header.format != kSpillFormat) {
        return Error(
            ErrorCode::corrupt_state,
            fmt::format("read a spill file: a record has format {}, this program knows {}; "
                        "these files never outlive the process that wrote them, so the "
                        "disk or its memory is faulty",
                        header.format, kSpillFormat));
    }
    if (header.payload_bytes != record.size() - sizeof header) {
        return corrupt("a record is cut off");
    }
    if (header.check != check_of(record)) return corrupt("a checksum is wrong");
    if (header.kind != static_cast<std::uint16_t>(kind))
        return corrupt("a record is of another kind");
    content.clear();
    content.resize(header.content_bytes);
    const std::size_t size = ZSTD_decompress(content.data(), content.size(),
                                             record.data() + sizeof header, header.payload_bytes);
    if (ZSTD_isError(size) != 0U || size != content.size()) {
        return corrupt("a record cannot be decompressed");
    }
    return {};
}

RecordFile::RecordFile(int descriptor, std::string directory)
    : descriptor_(descriptor), directory_(std::move(directory)) {}

RecordFile::~RecordFile() { ::close(descriptor_); }

Result<std::unique_ptr<RecordFile>> RecordFile::create(const std::string& directory) {
    int descriptor = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
        // Not every file system makes files without a name. The name that this one has
        // for a moment is what sweep_spill_files() looks for.
        std::string path = directory + "/walbrook-spill-XXXXXX";
        descriptor = ::mkostemp(path.data(), O_CLOEXEC);
        if (descriptor >= 0) ::unlink(path.c_str());
    }
    if (descriptor < 0) {
        return Error(ErrorCode::unavailable,
                     fmt::format("make a spill file in {}: {}", directory, reason(errno)));
    }
    return std::unique_ptr<RecordFile>(new RecordFile(descriptor, directory));
}

Result<std::size_t> RecordFile::append(RecordKind kind, std::span<const std::byte> content) {
    WALBROOK_FAILPOINT("spill.before_write");
    const std::lock_guard lock(mutex_);
    sealed_.clear();
    WALBROOK_RETURN_IF_ERROR(seal_record(kind, content, sealed_));
    for (std::size_t done = 0; done < sealed_.size();) {
        const ssize_t n = ::pwrite(descriptor_, sealed_.data() + done, sealed_.size() - done,
                                   static_cast<off_t>(end_ + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            const int error = errno;
            // Gives back what was written of the record; should that fail too, the next
            // append writes over it.
            if (::ftruncate(descriptor_, static_cast<off_t>(end_)) != 0) errno = error;
            return Error(ErrorCode::unavailable,
                         fmt::format("write {} bytes to a spill file in {}: {}{}", sealed_.size(),
                                     directory_, reason(error),
                                     is_full(error) ? "; free some space there, or set work_dir "
                                                      "to a larger disk"
                                                    : ""));
        }
        done += static_cast<std::size_t>(n);
    }
    places_.push_back({end_, sealed_.size()});
    end_ += sealed_.size();
    return places_.size() - 1;
}

Status RecordFile::read(std::size_t number, RecordKind kind, Buffer& content) const {
    Place place{};
    {
        const std::lock_guard lock(mutex_);
        WALBROOK_CHECK(number < places_.size());
        place = places_[number];
    }
    Buffer record;
    record.resize(place.size);
    for (std::size_t done = 0; done < record.size();) {
        const ssize_t n = ::pread(descriptor_, record.data() + done, record.size() - done,
                                  static_cast<off_t>(place.offset + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            return Error(ErrorCode::unavailable,
                         fmt::format("read a spill file in {}: {}", directory_, reason(errno)));
        }
        if (n == 0) return corrupt("it ends too early");
        done += static_cast<std::size_t>(n);
    }
    return open_record(kind, {record.data(), record.size()}, content);
}

std::size_t RecordFile::records() const {
    const std::lock_guard lock(mutex_);
    return places_.size();
}

std::uint64_t RecordFile::bytes() const {
    const std::lock_guard lock(mutex_);
    return end_;
}

}  // namespace walbrook::internal
