#include "world.h"

#include <algorithm>
#include <poll.h>

namespace walbrook::testing {

TableSchemaPtr simple(std::uint32_t oid, const std::string& name) {
    return TableMaker(oid, name).key("id").column("note").make();
}

World::World(std::unique_ptr<DestinationHarness> harness) : harness_(std::move(harness)) {
    const Recovered recovered = open();
    EXPECT_EQ(recovered.position, Lsn{});
    EXPECT_TRUE(recovered.tables.empty());
}

World::~World() { close(); }

PipelineIdentity World::identity(const std::string& work_dir) {
    PipelineIdentity who;
    who.pipeline_id = 7;
    who.system_identifier = "7300000000000000001";
    who.database = "postgres";
    who.database_oid = 5;
    who.slot = "walbrook_7";
    who.work_dir = work_dir;
    who.memory_bytes_max = 128ULL << 20;
    return who;
}

Recovered World::open() {
    const auto give_up = std::chrono::steady_clock::now() + harness_->stop_bound();
    destination_ = harness_->create();
    Result<Recovered> recovered = destination_->open(identity(harness_->work_dir()), {});
    // What a process that is gone has begun elsewhere may not be over yet.
    while (!recovered && recovered.error().code() == ErrorCode::unavailable &&
           std::chrono::steady_clock::now() < give_up) {
        poll(nullptr, 0, 50);
        destination_ = harness_->create();
        recovered = destination_->open(identity(harness_->work_dir()), {});
    }
    if (recovered) return *std::move(recovered);
    ADD_FAILURE() << "open: " << recovered.error().message();
    return {};
}

void World::close() {
    if (!destination_) return;
    const Status status = destination_->close();
    EXPECT_TRUE(status) << status.error().message();
    destination_.reset();
}

Recovered World::reopen() {
    close();
    return open();
}

Recovered World::die(const std::function<void()>& live) {
    close();
    if (harness_->can_be_killed()) {
        const std::uint64_t last = run_forked([&](ForkedLife& life) {
            life_ = &life;
            open();
            live();
            life.end(last_.value);
        });
        last_.value = std::max(last_.value, last);
    } else {
        open();
        live();
        destination_.reset();
    }
    return open();
}

World::Killed World::die_after(KillTime kill_after, const std::function<void()>& live) {
    if (!harness_->can_be_killed()) return {die(live), std::chrono::nanoseconds(0)};
    close();
    const KillTime ended = run_forked_until(kill_after, [&](ForkedLife& life) {
        life_ = &life;
        open();
        live();
        life.end(0);
    });
    return {open(), ended};
}

void World::has_no_more_items() {
    if (life_ != nullptr) life_->start_the_clock();
}

Error World::end_of_life() {
    if (life_ != nullptr) life_->end(last_.value);
    return {ErrorCode::cancelled, "the process is gone"};
}

SchemaChange schema_change(const TableSchemaPtr& from, const TableSchemaPtr& to,
                           const TextRow& existing, CopyTargetPtr copy) {
    SchemaChange change;
    change.from = from;
    change.to = to;
    change.copy = std::move(copy);
    if (!existing.empty()) {
        change.existing = std::make_shared<const RowBatch>(make_rows(to, {existing}));
    }
    return change;
}

CopyTargetPtr copy_target(const TableSchemaPtr& schema, std::uint32_t attempt) {
    return std::make_shared<const CopyTarget>(CopyTarget{schema, attempt, {0x1000}});
}

CopyTargetPtr World::begin_copy(const TableSchemaPtr& schema, std::uint32_t attempt) {
    const CopyTargetPtr target = copy_target(schema, attempt);
    const Status status = destination_->begin_copy(target, {});
    EXPECT_TRUE(status) << status.error().message();
    return target;
}

void World::write_unit(const CopyTargetPtr& copy, std::uint32_t unit,
                       const std::vector<TextRow>& rows) {
    TestReader reader(copy->schema);
    reader.add(make_rows(copy->schema, rows));
    const Status status = destination_->write_copy({copy, unit}, reader, {});
    EXPECT_TRUE(status) << status.error().message();
}

CopyTargetPtr World::copy(const TableSchemaPtr& schema, const std::vector<TextRow>& rows,
                          std::uint32_t attempt) {
    const CopyTargetPtr target = begin_copy(schema, attempt);
    write_unit(target, 0, rows);
    const Status status = destination_->finish_copy(target, {});
    EXPECT_TRUE(status) << status.error().message();
    return target;
}

void World::publish(const CopyTargetPtr& copy) { apply(Publish{copy}); }

void World::load(const TableSchemaPtr& schema, const std::vector<TextRow>& rows,
                 std::uint32_t attempt) {
    publish(copy(schema, rows, attempt));
}

void World::expect_applied(Flush& flush) {
    const Result<Ack> ack = destination_->apply(flush, Ack::durable, {});
    if (!ack) {
        ADD_FAILURE() << "apply: " << name_of(ack.error().code()) << ": " << ack.error().message();
        return;
    }
    EXPECT_EQ(*ack, Ack::durable);
}

bool World::expect_applied_or_refused(Flush& flush, std::uint32_t table_oid) {
    const Result<Lsn> before = destination_->read_position({});
    const Result<Ack> ack = destination_->apply(flush, Ack::durable, {});
    if (ack) return true;
    EXPECT_EQ(name_of(ack.error().code()), "schema_mismatch") << ack.error().message();
    EXPECT_EQ(ack.error().table_oid(), table_oid) << ack.error().message();
    const Result<Lsn> after = destination_->read_position({});
    if (before && after) {
        EXPECT_EQ(*before, *after);
    } else {
        ADD_FAILURE() << "the position cannot be read";
    }
    return false;
}

void World::expect_refused(Flush& flush, ErrorCode code, std::uint32_t table_oid) {
    const Result<Lsn> before = destination_->read_position({});
    const Result<Ack> ack = destination_->apply(flush, Ack::durable, {});
    if (ack) {
        ADD_FAILURE() << "applied what had to be refused";
        return;
    }
    EXPECT_EQ(name_of(ack.error().code()), name_of(code)) << ack.error().message();
    EXPECT_EQ(ack.error().table_oid(), table_oid) << ack.error().message();
    const Result<Lsn> after = destination_->read_position({});
    ASSERT_TRUE(before && after);
    EXPECT_EQ(*before, *after);
}

std::vector<TextRow> World::read(const TableSchemaPtr& schema) {
    std::optional<std::vector<TextRow>> rows = harness_->read(*schema);
    if (rows) return *std::move(rows);
    ADD_FAILURE() << "there is no table " << schema->display_name();
    return {};
}

void World::expect_rows(const TableSchemaPtr& schema, std::vector<TextRow> expected) {
    if (capabilities().forgets) return;
    std::vector<TextRow> rows = read(schema);
    std::sort(rows.begin(), rows.end());
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(rows, expected) << schema->display_name();
}

void World::expect_no_table(const TableSchemaPtr& schema) {
    if (capabilities().forgets) return;
    EXPECT_FALSE(harness_->read(*schema)) << schema->display_name();
}

void World::expect_position(Lsn position) {
    const Result<Lsn> found = destination_->read_position({});
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(to_string(*found), to_string(position));
}

const RecoveredTable* find_table(const Recovered& recovered, const TableSchemaPtr& schema) {
    for (const RecoveredTable& table : recovered.tables) {
        if (table.table == schema->id) return &table;
    }
    return nullptr;
}

}  // namespace walbrook::testing
