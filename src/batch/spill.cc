#include "batch/spill.h"

#include "base/check.h"
#include "base/narrow.h"
#include "batch/spill_batch.h"
#include "batch/spill_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace walbrook {

using internal::RecordFile;
using internal::RecordKind;

Status sweep_spill_files(const std::string& directory) {
    std::error_code problem;
    std::filesystem::directory_iterator entry(directory, problem);
    for (; !problem && entry != std::filesystem::directory_iterator(); entry.increment(problem)) {
        const std::string name = entry->path().filename().string();
        if (name.starts_with("walbrook-spill-")) std::filesystem::remove(entry->path(), problem);
        if (problem) break;
    }
    if (!problem || problem == std::errc::no_such_file_or_directory) return {};
    return Error(ErrorCode::unavailable,
                 fmt::format("remove old spill files from {}: {}", directory, problem.message()));
}

SpillFile::SpillFile(std::unique_ptr<RecordFile> file) : file_(std::move(file)) {}
SpillFile::~SpillFile() = default;

Result<std::unique_ptr<SpillFile>> SpillFile::create(const std::string& directory) {
    WALBROOK_TRY(auto file, RecordFile::create(directory));
    return std::unique_ptr<SpillFile>(new SpillFile(std::move(file)));
}

Result<std::size_t> SpillFile::append(const ChangeBatch& batch) {
    Buffer content;
    content.reserve(batch.bytes() + 4096);
    internal::encode_batch(batch, content);
    return file_->append(RecordKind::changes, {content.data(), content.size()});
}

Result<ChangeBatch> SpillFile::read(std::size_t number, const TableSchemaPtr& schema) const {
    Buffer content;
    WALBROOK_RETURN_IF_ERROR(file_->read(number, RecordKind::changes, content));
    return internal::decode_batch({content.data(), content.size()}, schema);
}

std::size_t SpillFile::size() const { return file_->records(); }
std::uint64_t SpillFile::bytes_on_disk() const { return file_->bytes(); }

// --- FrameSpool. A chunk is a run of: u32 subxid, u32 bytes, u64 position, the bytes.

namespace {

struct FrameHead {
    std::uint32_t subxid;
    std::uint32_t bytes;
    std::uint64_t position;
};
static_assert(sizeof(FrameHead) == 16);

}  // namespace

FrameSpool::FrameSpool(std::string directory, std::size_t memory_bytes_max,
                       std::size_t chunk_bytes)
    : directory_(std::move(directory)),
      memory_bytes_max_(memory_bytes_max),
      chunk_bytes_(std::min(chunk_bytes, memory_bytes_max)) {}
FrameSpool::~FrameSpool() = default;
FrameSpool::FrameSpool(FrameSpool&&) noexcept = default;
FrameSpool& FrameSpool::operator=(FrameSpool&&) noexcept = default;

Status FrameSpool::append(std::uint32_t subxid, Lsn position, std::span<const std::byte> bytes) {
    const FrameHead head{subxid, narrow<std::uint32_t>(bytes.size()), position.value};
    const std::size_t more = sizeof head + bytes.size();
    if (tail_.size() != 0 && tail_.size() + more > chunk_bytes_) {
        chunks_bytes_ += tail_.size();
        chunks_.push_back(std::move(tail_));
        tail_ = Buffer();
    }
    if (chunks_bytes_ + tail_.size() != 0 &&
        chunks_bytes_ + tail_.size() + more > memory_bytes_max_) {
        WALBROOK_RETURN_IF_ERROR(spill());
    }
    tail_.append_value(head);
    tail_.append(bytes.data(), bytes.size());
    ++frames_;
    return {};
}

Status FrameSpool::spill() {
    if (bytes_in_memory() == 0) return {};
    if (!file_) {
        WALBROOK_TRY(file_, RecordFile::create(directory_));
    }
    if (tail_.size() != 0) {
        chunks_bytes_ += tail_.size();
        chunks_.push_back(std::move(tail_));
        tail_ = Buffer();
    }
    // After a failure what has been written is in the file and no longer here.
    std::size_t written = 0;
    Status status;
    while (status && written < chunks_.size()) {
        const Buffer& chunk = chunks_[written];
        status = file_->append(RecordKind::frames, {chunk.data(), chunk.size()}).status();
        if (status) {
            chunks_bytes_ -= chunk.size();
            ++written;
        }
    }
    chunks_.erase(chunks_.begin(), chunks_.begin() + static_cast<std::ptrdiff_t>(written));
    return status;
}

std::uint64_t FrameSpool::bytes_in_memory() const {
    return chunks_bytes_ + tail_.size() + loaded_.size();
}
std::uint64_t FrameSpool::bytes_on_disk() const { return file_ ? file_->bytes() : 0; }

void FrameSpool::rewind() {
    chunk_ = 0;
    unread_ = {};
}

Status FrameSpool::load_next_chunk() {
    const std::size_t in_file = file_ ? file_->records() : 0;
    if (chunk_ < in_file) {
        WALBROOK_RETURN_IF_ERROR(file_->read(chunk_, RecordKind::frames, loaded_));
        unread_ = {loaded_.data(), loaded_.size()};
    } else if (chunk_ < in_file + chunks_.size()) {
        const Buffer& chunk = chunks_[chunk_ - in_file];
        unread_ = {chunk.data(), chunk.size()};
    } else {
        unread_ = {tail_.data(), tail_.size()};
    }
    ++chunk_;
    return {};
}

Result<const FrameSpool::Frame*> FrameSpool::next() {
    const std::size_t chunks = (file_ ? file_->records() : 0) + chunks_.size() + 1;
    for (;;) {
        if (unread_.empty()) {
            if (chunk_ == chunks) return nullptr;
            WALBROOK_RETURN_IF_ERROR(load_next_chunk());
            continue;
        }
        // Only records with a right checksum come here, so the chunk is as we wrote it.
        FrameHead head;
        WALBROOK_CHECK(unread_.size() >= sizeof head);
        std::memcpy(&head, unread_.data(), sizeof head);
        WALBROOK_CHECK(unread_.size() - sizeof head >= head.bytes);
        frame_ = {head.subxid, Lsn{head.position}, unread_.subspan(sizeof head, head.bytes)};
        unread_ = unread_.subspan(sizeof head + head.bytes);
        if (!aborted_.contains(head.subxid)) return &frame_;
    }
}

}  // namespace walbrook
