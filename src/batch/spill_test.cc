#include "batch/spill.h"

#include "batch/spill_batch.h"
#include "batch/spill_record.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace walbrook {
namespace {

class TempDir {
 public:
    TempDir() {
        std::string path = (std::filesystem::temp_directory_path() / "walbrook-XXXXXX").string();
        path_ = ::mkdtemp(path.data());
    }
    ~TempDir() { std::filesystem::remove_all(path_); }
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    const std::string& path() const { return path_; }

 private:
    std::string path_;
};

// A column of every kind, and a list of it.
TableSchemaPtr every_kind() {
    auto schema = std::make_shared<TableSchema>();
    schema->id = {4711};
    schema->schema = "public";
    schema->name = "t";
    for (int kind = 0; kind < static_cast<int>(TypeKind::list); ++kind) {
        for (const bool is_list : {false, true}) {
            ColumnSchema column;
            column.name = "c" + std::to_string(schema->columns.size());
            column.attnum = static_cast<std::int16_t>(schema->columns.size() + 1);
            column.type = {static_cast<TypeKind>(kind), is_list, 0, 0};
            if (column.type.kind == TypeKind::decimal) column.type.precision = 38;
            schema->columns.push_back(column);
        }
    }
    return schema;
}

void append_random(Column& column, std::mt19937_64& random) {
    if (random() % 4 == 0) return column.append_null();
    if (column.type().is_list) {
        for (std::size_t n = random() % 4; n > 0; --n) append_random(column.element(), random);
        return column.append_list_end();
    }
    const std::uint64_t value[2] = {random(), random()};
    if (column.type().kind == TypeKind::boolean) return column.append_bool(value[0] % 2 == 0);
    const std::size_t width = value_width(column.type().kind);
    if (width != 0) return column.append_fixed_bytes(value, width);
    column.append_bytes(std::string(random() % 40, static_cast<char>('a' + random() % 26)));
}

ChangeBatch random_batch(const TableSchemaPtr& schema, std::size_t changes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    ChangeBatch batch(schema);
    const auto add = [&](RowBatch& rows) {
        for (Column& column : rows.columns()) append_random(column, random);
        if (rows.columns().empty()) rows.append_empty_row();
        return static_cast<std::int32_t>(rows.rows() - 1);
    };
    for (std::size_t i = 0; i < changes; ++i) {
        Change change;
        change.kind = static_cast<ChangeKind>(random() % 3);
        change.old_is_full = random() % 2 == 0;
        if (i % 3 == 0) {
            batch.transactions.push_back({{random()},
                                          {random()},
                                          static_cast<std::int64_t>(random()),
                                          static_cast<std::uint32_t>(random())});
        }
        change.transaction = static_cast<std::uint32_t>(random() % batch.transactions.size());
        change.ordinal = random();
        if (change.kind != ChangeKind::remove) change.new_row = add(batch.new_rows);
        if (change.kind != ChangeKind::insert) change.old_row = add(batch.old_rows);
        if (change.new_row >= 0 && !schema->columns.empty() && random() % 3 == 0) {
            batch.set_unchanged(random() % schema->columns.size(),
                                static_cast<std::size_t>(change.new_row));
        }
        batch.changes.push_back(change);
    }
    return batch;
}

void expect_equal_rows(const RowBatch& a, const RowBatch& b) {
    ASSERT_EQ(a.rows(), b.rows());
    for (std::size_t c = 0; c < a.columns().size(); ++c) {
        ASSERT_EQ(a.columns()[c].size(), b.columns()[c].size());
        for (std::size_t row = 0; row < a.rows(); ++row) {
            ASSERT_TRUE(Column::equal(a.columns()[c], row, b.columns()[c], row)) << c << " " << row;
        }
    }
}

void expect_equal(const ChangeBatch& a, const ChangeBatch& b) {
    ASSERT_EQ(a.transactions.size(), b.transactions.size());
    for (std::size_t i = 0; i < a.transactions.size(); ++i) {
        EXPECT_EQ(a.transactions[i].commit_lsn, b.transactions[i].commit_lsn);
        EXPECT_EQ(a.transactions[i].end_lsn, b.transactions[i].end_lsn);
        EXPECT_EQ(a.transactions[i].commit_time_us, b.transactions[i].commit_time_us);
        EXPECT_EQ(a.transactions[i].xid, b.transactions[i].xid);
    }
    ASSERT_EQ(a.changes.size(), b.changes.size());
    for (std::size_t i = 0; i < a.changes.size(); ++i) {
        EXPECT_EQ(a.changes[i].kind, b.changes[i].kind);
        EXPECT_EQ(a.changes[i].old_is_full, b.changes[i].old_is_full);
        EXPECT_EQ(a.changes[i].transaction, b.changes[i].transaction);
        EXPECT_EQ(a.changes[i].new_row, b.changes[i].new_row);
        EXPECT_EQ(a.changes[i].old_row, b.changes[i].old_row);
        EXPECT_EQ(a.changes[i].ordinal, b.changes[i].ordinal);
    }
    expect_equal_rows(a.new_rows, b.new_rows);
    expect_equal_rows(a.old_rows, b.old_rows);
    EXPECT_EQ(a.unchanged, b.unchanged);
}

std::span<const std::byte> view(const Buffer& buffer) { return {buffer.data(), buffer.size()}; }

std::unique_ptr<SpillFile> make_file(const TempDir& directory) {
    auto file = SpillFile::create(directory.path());
    EXPECT_TRUE(file) << file.error().message();
    return *std::move(file);
}

TEST(SpillFile, ReadsBackWhatWasAppendedInAnyOrder) {
    const TempDir directory;
    const TableSchemaPtr schema = every_kind();
    const auto file = make_file(directory);
    for (const std::uint64_t n : {0U, 1U, 7U, 8U, 9U, 100U}) {
        const auto number = file->append(random_batch(schema, n, n));
        ASSERT_TRUE(number) << number.error().message();
        EXPECT_EQ(*number, file->size() - 1);
    }
    const std::size_t sizes[] = {0, 1, 7, 8, 9, 100};
    for (const std::size_t i : {5, 0, 3, 3, 1, 2, 4}) {
        const auto batch = file->read(i, schema);
        ASSERT_TRUE(batch) << batch.error().message();
        expect_equal(*batch, random_batch(schema, sizes[i], sizes[i]));
    }
    EXPECT_GT(file->bytes_on_disk(), 0U);
}

TEST(SpillFile, KeepsRowsOfATableWithoutColumns) {
    const TempDir directory;
    const auto schema = std::make_shared<TableSchema>();
    const auto file = make_file(directory);
    ASSERT_TRUE(file->append(random_batch(schema, 9, 1)));
    const auto batch = file->read(0, schema);
    ASSERT_TRUE(batch) << batch.error().message();
    expect_equal(*batch, random_batch(schema, 9, 1));
}

TEST(SpillFile, LeavesNoNameInTheDirectory) {
    const TempDir directory;
    const auto file = make_file(directory);
    ASSERT_TRUE(file->append(random_batch(every_kind(), 10, 1)));
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

// It has no name, but who may see its process's descriptors could open it by them.
TEST(SpillFile, IsOfItsUserAlone) {
    const TempDir directory;
    const mode_t before = umask(0);
    const auto file = make_file(directory);
    ASSERT_TRUE(file->append(random_batch(every_kind(), 10, 1)));
    umask(before);
    int seen = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        std::error_code gone;
        const std::string to = std::filesystem::read_symlink(entry.path(), gone).string();
        struct stat found{};
        if (!to.starts_with(directory.path() + "/")) continue;
        ASSERT_EQ(stat(entry.path().c_str(), &found), 0);
        EXPECT_EQ(found.st_mode & 07777, 0600U);
        ++seen;
    }
    EXPECT_EQ(seen, 1);
}

TEST(SpillFile, RefusesBatchesOfOtherColumns) {
    const TempDir directory;
    const auto file = make_file(directory);
    ASSERT_TRUE(file->append(random_batch(every_kind(), 10, 1)));
    auto other = std::make_shared<TableSchema>(*every_kind());
    other->columns[5].type.kind = TypeKind::float32;
    const auto batch = file->read(0, other);
    ASSERT_FALSE(batch);
    EXPECT_EQ(batch.error().code(), ErrorCode::corrupt_state);
}

TEST(SpillFile, MissingDirectoryIsUnavailable) {
    const auto file = SpillFile::create("/nonexistent/walbrook");
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().code(), ErrorCode::unavailable);
}

// A limit on the size of files stands in for a full disk: both make write(2) fail in the
// middle of a record.
TEST(SpillFile, FullDiskIsAClearErrorAndLosesNothing) {
    const TempDir directory;
    const TableSchemaPtr schema = every_kind();
    const auto file = make_file(directory);
    ASSERT_TRUE(file->append(random_batch(schema, 20, 1)));
    const std::uint64_t before = file->bytes_on_disk();

    rlimit old{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{before + 100, old.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const auto refused = file->append(random_batch(schema, 500, 2));
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, old_handler);

    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
    EXPECT_NE(refused.error().message().find("work_dir"), std::string::npos);
    EXPECT_EQ(file->bytes_on_disk(), before);
    ASSERT_TRUE(file->append(random_batch(schema, 30, 3)));
    const auto batch = file->read(1, schema);
    ASSERT_TRUE(batch) << batch.error().message();
    expect_equal(*batch, random_batch(schema, 30, 3));
    EXPECT_TRUE(file->read(0, schema));
}

TEST(SpillRecord, RefusesEveryTruncationAndEveryFlippedBit) {
    Buffer content;
    internal::encode_batch(random_batch(every_kind(), 3, 5), content);
    Buffer record;
    ASSERT_TRUE(internal::seal_record(internal::RecordKind::changes, view(content), record));
    Buffer opened;
    ASSERT_TRUE(internal::open_record(internal::RecordKind::changes, view(record), opened));
    const auto refuses = [&](std::span<const std::byte> bytes) {
        const Status status = internal::open_record(internal::RecordKind::changes, bytes, opened);
        return !status && status.error().code() == ErrorCode::corrupt_state;
    };
    EXPECT_FALSE(internal::open_record(internal::RecordKind::frames, view(record), opened));
    for (std::size_t n = 0; n < record.size(); ++n)
        EXPECT_TRUE(refuses(view(record).first(n))) << n;
    for (std::size_t bit = 0; bit < record.size() * 8; ++bit) {
        const auto mask = std::byte{1} << static_cast<int>(bit % 8);
        record.data()[bit / 8] ^= mask;
        EXPECT_TRUE(refuses(view(record))) << bit;
        record.data()[bit / 8] ^= mask;
    }
}

TEST(SpillRecord, NamesAFormatThatItDoesNotKnow) {
    Buffer content;
    internal::encode_batch(random_batch(every_kind(), 3, 5), content);
    Buffer record;
    ASSERT_TRUE(internal::seal_record(internal::RecordKind::changes, view(content), record));
    record.data()[4] = std::byte{2};  // spill_record.h has the layout.
    const Status status =
        internal::open_record(internal::RecordKind::changes, view(record), content);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::corrupt_state);
    EXPECT_NE(status.error().message().find("a record has format 2, this program knows 1"),
              std::string::npos)
        << status.error().message();
}

// Behind the checksum: bytes that are not a batch end as an error or as some batch, and
// never read outside themselves.
TEST(SpillBatch, SurvivesEveryTruncationAndEveryFlippedByte) {
    const TableSchemaPtr schema = every_kind();
    Buffer content;
    internal::encode_batch(random_batch(schema, 3, 5), content);
    for (std::size_t n = 0; n < content.size(); ++n) {
        const std::vector<std::byte> cut(content.data(), content.data() + n);
        const auto batch = internal::decode_batch(cut, schema);
        ASSERT_FALSE(batch) << n;
        EXPECT_EQ(batch.error().code(), ErrorCode::corrupt_state);
    }
    std::size_t decoded = 0;
    for (std::size_t i = 0; i < content.size(); ++i) {
        for (const unsigned flip : {0x01U, 0x80U, 0xFFU}) {
            content.data()[i] ^= static_cast<std::byte>(flip);
            decoded += internal::decode_batch(view(content), schema) ? 1 : 0;
            content.data()[i] ^= static_cast<std::byte>(flip);
        }
    }
    EXPECT_GT(decoded, 0U);  // Changed values are not what this layer can see.
}

TEST(SpillFile, SweepsOnlyWhatIsOurs) {
    const TempDir directory;
    std::ofstream(directory.path() + "/walbrook-spill-abc123") << "x";
    std::ofstream(directory.path() + "/state.db") << "x";
    ASSERT_TRUE(sweep_spill_files(directory.path()));
    EXPECT_FALSE(std::filesystem::exists(directory.path() + "/walbrook-spill-abc123"));
    EXPECT_TRUE(std::filesystem::exists(directory.path() + "/state.db"));
    EXPECT_TRUE(sweep_spill_files(directory.path() + "/missing"));
}

// --- FrameSpool

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text));
}

struct Kept {
    std::uint32_t subxid;
    std::uint64_t position;
    std::string bytes;
    bool operator==(const Kept&) const = default;
};

std::vector<Kept> drain(FrameSpool& spool) {
    std::vector<Kept> frames;
    for (;;) {
        const auto frame = spool.next();
        EXPECT_TRUE(frame) << frame.error().message();
        if (!frame || *frame == nullptr) return frames;
        const FrameSpool::Frame& f = **frame;
        frames.push_back(
            {f.subxid, f.position.value,
             std::string(reinterpret_cast<const char*>(f.bytes.data()), f.bytes.size())});
    }
}

TEST(FrameSpool, GivesFramesInOrderWithoutAbortedOnes) {
    const TempDir directory;
    for (const std::size_t limit : {0U, 100U, 1000U, 5000U, 1U << 20}) {
        SCOPED_TRACE(limit);
        FrameSpool spool(directory.path(), limit, 600);
        std::mt19937 random(7);
        std::vector<Kept> expected;
        for (std::uint64_t i = 0; i < 500; ++i) {
            const Kept frame{static_cast<std::uint32_t>(random() % 4), i,
                             std::string(random() % 90, static_cast<char>('a' + random() % 26))};
            ASSERT_TRUE(spool.append(frame.subxid, Lsn{frame.position}, bytes_of(frame.bytes)));
            if (frame.subxid != 2) expected.push_back(frame);
        }
        spool.abort(2);
        EXPECT_EQ(spool.frames(), 500U);
        EXPECT_EQ(spool.bytes_on_disk() != 0, limit < 10000);
        EXPECT_LE(spool.bytes_in_memory(), std::max<std::size_t>(limit, 200));
        EXPECT_EQ(drain(spool), expected);
        EXPECT_EQ(drain(spool), std::vector<Kept>());
        spool.rewind();
        FrameSpool moved(std::move(spool));
        EXPECT_EQ(drain(moved), expected);
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(FrameSpool, FrameLargerThanTheLimitPasses) {
    const TempDir directory;
    FrameSpool spool(directory.path(), 1000, 300);
    const std::string large(100000, 'x');
    ASSERT_TRUE(spool.append(1, Lsn{1}, bytes_of("small")));
    ASSERT_TRUE(spool.append(1, Lsn{2}, bytes_of(large)));
    ASSERT_TRUE(spool.append(1, Lsn{3}, bytes_of("small")));
    const auto frames = drain(spool);
    ASSERT_EQ(frames.size(), 3U);
    EXPECT_EQ(frames[1].bytes, large);
    EXPECT_LT(spool.bytes_on_disk(), 10000U);
}

TEST(FrameSpool, NeedsNoDirectoryBelowItsLimit) {
    FrameSpool spool("/nonexistent/walbrook", 1000, 300);
    ASSERT_TRUE(spool.append(1, Lsn{1}, bytes_of("frame")));
    EXPECT_EQ(drain(spool).size(), 1U);
    const Status status = spool.append(1, Lsn{2}, bytes_of(std::string(2000, 'x')));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace walbrook
