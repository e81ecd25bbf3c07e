#include "decode/pgoutput.h"

#include "decode/damage_testing.h"
#include "decode/decode_testing.h"
#include "decode/pgoutput_frames_testing.h"
#include "decode/properties_testing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace walbrook {
namespace {

using ::testing::HasSubstr;

template <class Message>
Message parse_as(const std::string& bytes, bool in_stream = false) {
    const auto message = parse_pgoutput(frame_of(bytes), in_stream);
    EXPECT_TRUE(message) << message.error().message();
    if (!message) return {};
    EXPECT_TRUE(std::holds_alternative<Message>(*message));
    return std::get<Message>(*message);
}

// "n", "u", "t:text", "b:text" of each column.
std::vector<std::string> columns_of(const TupleView& tuple) {
    std::vector<std::string> out;
    TupleColumn column;
    for (auto each = tuple.columns(); each.next(column);) {
        std::string text(1, column.kind);
        if (column.kind == 't' || column.kind == 'b') text += ":" + std::string(column.bytes);
        out.push_back(text);
    }
    EXPECT_EQ(out.size(), tuple.size());
    return out;
}

TEST(Pgoutput, ParsesEveryMessage) {
    for (const Frame& frame : kFrames) {
        SCOPED_TRACE(frame.name);
        const std::string bytes = hex(frame.hex);
        const auto message = parse_pgoutput(frame_of(bytes), frame.in_stream);
        EXPECT_TRUE(message) << message.error().message();
    }
}

TEST(Pgoutput, RejectsEveryTruncationAndTrailingBytes) {
    for (const Frame& frame : kFrames) {
        SCOPED_TRACE(frame.name);
        const std::string bytes = hex(frame.hex);
        for (std::size_t n = 0; n < bytes.size(); ++n) {
            SCOPED_TRACE(n);
            // The abort of protocol 4 is that of protocol 2 with more behind it.
            if (frame.name == "parallel abort" && n == 9) continue;
            const std::string cut = bytes.substr(0, n);
            const auto message = parse_pgoutput(frame_of(cut), frame.in_stream);
            ASSERT_FALSE(message);
            EXPECT_EQ(message.error().code(), ErrorCode::malformed);
        }
        const std::string longer = bytes + '\0';
        EXPECT_FALSE(parse_pgoutput(frame_of(longer), frame.in_stream));
    }
}

TEST(Pgoutput, DamagedFramesAreRefusedOrEncodeBackToTheSame) {
    for (const Frame& frame : kFrames) {
        SCOPED_TRACE(frame.name);
        for_each_damage(hex(frame.hex), 2000, [&](const std::string& damaged) {
            expect_frame_encodes_back(damaged, frame.in_stream);
        });
    }
}

TEST(Pgoutput, HandsOutPositionsAndTimes) {
    const std::string begin_frame = hex(kFrames[0].hex);
    const auto begin = parse_as<BeginMessage>(begin_frame);
    EXPECT_EQ(begin.commit_lsn, Lsn{0x1537158});
    EXPECT_EQ(begin.commit_time_us, 0x0002bb6b5cd2f4a0 + 946'684'800'000'000);
    EXPECT_EQ(begin.xid, 0x2e1U);
    const std::string commit_frame = hex(kFrames[1].hex);
    const auto commit = parse_as<CommitMessage>(commit_frame);
    EXPECT_EQ(commit.commit_lsn, Lsn{0x1537158});
    EXPECT_EQ(commit.end_lsn, Lsn{0x1537188});
    // A time whose sum with 30 years is no 64-bit number.
    const std::string late = hex("42 0000000001537158 7fffffffffffffff 000002e1");
    EXPECT_FALSE(parse_pgoutput(frame_of(late), false));
}

TEST(Pgoutput, HandsOutRelations) {
    const std::string frame = hex(kFrames[3].hex);
    const auto relation = parse_as<RelationMessage>(frame);
    EXPECT_EQ(relation.oid, 0x4001U);
    EXPECT_EQ(relation.schema, "public");
    EXPECT_EQ(relation.name, "t");
    EXPECT_EQ(relation.replica_identity, ReplicaIdentity::default_key);
    ASSERT_EQ(relation.columns.size(), 2U);
    auto each = relation.columns.columns();
    RelationColumn column;
    ASSERT_TRUE(each.next(column));
    EXPECT_TRUE(column.in_identity);
    EXPECT_EQ(column.name, "id");
    EXPECT_EQ(column.type_oid, 23U);
    EXPECT_EQ(column.typmod, -1);
    ASSERT_TRUE(each.next(column));
    EXPECT_FALSE(column.in_identity);
    EXPECT_EQ(column.name, "note");
    EXPECT_EQ(column.typmod, 0x000c0006);
    EXPECT_FALSE(each.next(column));
}

TEST(Pgoutput, HandsOutRows) {
    const std::string insert_frame = hex(kFrames[5].hex);
    const auto insert = parse_as<InsertMessage>(insert_frame);
    EXPECT_EQ(insert.relation, 0x4001U);
    EXPECT_EQ(columns_of(insert.new_row), (std::vector<std::string>{"t:7", "n", "u", "b:\1\2"}));
    const std::string update_frame = hex(kFrames[8].hex);
    const auto update = parse_as<UpdateMessage>(update_frame);
    EXPECT_EQ(update.old_kind, OldRow::key);
    EXPECT_EQ(columns_of(update.old_row), (std::vector<std::string>{"t:7", "n"}));
    EXPECT_EQ(columns_of(update.new_row), (std::vector<std::string>{"t:8", "u"}));
    const std::string plain_frame = hex(kFrames[7].hex);
    EXPECT_EQ(parse_as<UpdateMessage>(plain_frame).old_kind, OldRow::none);
    const std::string delete_frame = hex(kFrames[11].hex);
    EXPECT_EQ(parse_as<DeleteMessage>(delete_frame).old_kind, OldRow::full);
}

TEST(Pgoutput, HandsOutTruncatesAndMessages) {
    const std::string truncate_frame = hex(kFrames[12].hex);
    const auto truncate = parse_as<TruncateMessage>(truncate_frame);
    EXPECT_TRUE(truncate.cascade);
    EXPECT_TRUE(truncate.restart_identity);
    ASSERT_EQ(truncate.relations.size(), 2U);
    EXPECT_EQ(truncate.relations[1], 0x4005U);
    const std::string message_frame = hex(kFrames[13].hex);
    const auto message = parse_as<LogicalMessage>(message_frame);
    EXPECT_TRUE(message.transactional);
    EXPECT_EQ(message.prefix, "wal");
    EXPECT_EQ(message.content, "hi");
}

TEST(Pgoutput, StreamedMessagesCarryTheirTransaction) {
    for (const Frame& frame : kFrames) {
        if (!frame.in_stream) continue;
        SCOPED_TRACE(frame.name);
        const std::string bytes = hex(frame.hex);
        const auto message = parse_pgoutput(frame_of(bytes), true);
        ASSERT_TRUE(message);
        const std::uint32_t xid = std::visit(
            [](const auto& any) -> std::uint32_t {
                if constexpr (requires { any.xid; }) return any.xid;
                return 0;
            },
            *message);
        EXPECT_EQ(xid, 0x2e1U);
    }
}

TEST(Pgoutput, AbortsOfParallelStreamsSayWhere) {
    const std::string plain_frame = hex("41 000002e1 000002e2");
    const auto plain = parse_as<StreamAbortMessage>(plain_frame);
    EXPECT_EQ(plain.subxid, 0x2e2U);
    EXPECT_FALSE(plain.abort_lsn);
    const std::string parallel_frame =
        hex("41 000002e1 000002e1 0000000001537158 0000000000000000");
    const auto parallel = parse_as<StreamAbortMessage>(parallel_frame);
    EXPECT_EQ(parallel.abort_lsn, Lsn{0x1537158});
    EXPECT_EQ(parallel.abort_time_us, 946'684'800'000'000);
}

TEST(Pgoutput, LyingLengthsAreMalformed) {
    for (const std::string_view digits : {
             "49 00004001 4e ffff 6e",             // More columns than bytes.
             "49 00004001 4e 0001 74 ffffffff",    // A column of 4 GiB.
             "49 00004001 4e 0001 78",             // Unknown column kind.
             "49 00004001 4b 0001 6e",             // An insert with an old row.
             "44 00004001 4e 0001 6e",             // A delete with a new row.
             "55 00004001 4b 0001 6e 4b 0001 6e",  // An update with two old rows.
             "54 ffffffff 00 00004001",            // More tables than bytes.
             "54 00000001 04 00004001",            // An unknown truncate option.
             "52 00004001 00 7400 78 0000",        // An unknown replica identity.
             "52 00004001 00 7400 64 0001 03 696400 00000017 ffffffff",  // A column's flag.
             "4d 01 0000000001537158 70 00000000",  // A prefix that eats its length.
             "43 01 0000000001537158 0000000001537188 0002bb6b5cd2f4a0",  // A commit flag.
         }) {
        SCOPED_TRACE(digits);
        const std::string bytes = hex(digits);
        const auto message = parse_pgoutput(frame_of(bytes), false);
        ASSERT_FALSE(message);
        EXPECT_EQ(message.error().code(), ErrorCode::malformed);
    }
}

// What is unknown must stop the stream: it may be about rows.
TEST(Pgoutput, UnknownMessagesAreNamed) {
    for (const auto& [bytes, name] : {std::pair<std::string, std::string>{"X123", "'X'"},
                                      {std::string(1, '\0'), "0x00"},
                                      {"\xFF", "0xff"}}) {
        const auto message = parse_pgoutput(frame_of(bytes), false);
        ASSERT_FALSE(message);
        EXPECT_EQ(message.error().code(), ErrorCode::malformed);
        EXPECT_THAT(message.error().message(), HasSubstr("unknown pgoutput message " + name));
    }
}

}  // namespace
}  // namespace walbrook
