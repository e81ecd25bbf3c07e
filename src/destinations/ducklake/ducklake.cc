#include "base/backoff.h"
#include "base/check.h"
#include "base/clock.h"
#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/apply.h"
#include "destinations/ducklake/catalog.h"
#include "destinations/ducklake/copies.h"
#include "destinations/ducklake/data_folder.h"
#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/records.h"
#include "destinations/ducklake/table_ddl.h"
#include "destinations/ducklake/tables.h"
#include "destinations/ducklake/upkeep.h"
#include "walbrook/destinations.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

namespace walbrook {

namespace {

using duckdb_engine::QueryResult;
using duckdb_engine::quote_identifier;
using duckdb_engine::quote_literal;
using duckdb_engine::same_name;
using ducklake::Copies;
using ducklake::Lake;
using ducklake::Note;
using ducklake::Tables;

constexpr int kApplyAttempts = 6;

class DuckLakeDestination final : public Destination {
 public:
    explicit DuckLakeDestination(DuckLakeConfig config) : config_(std::move(config)) {}

    std::string_view name() const override { return "ducklake"; }
    Capabilities capabilities() const override {
        return {.multi_table_atomic = true,
                .exactly_once = true,
                .partial_update = true,
                .keyless = true,
                .case_sensitive_names = false};
    }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>& tables) const override {
        return ducklake::table_refusals(tables);
    }

    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override;
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override {
        return copies_->write(unit, rows, stop);
    }
    Status finish_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override;
    Result<Lsn> read_position(std::stop_token stop) override;
    Status maintain(std::stop_token stop) override;
    Status keep_readable(Lsn position, std::chrono::milliseconds how_long,
                         std::stop_token /*stop*/) override {
        upkeep_->keep_readable(position, now() + how_long);
        return {};
    }
    Status close() override;

 private:
    // The place of one schema's tables below data_path; the schema is made if missing.
    Result<std::string> schema_folder(const std::string& schema, const std::stop_token& stop);
    // That it is of this source, and that all in it has a form that this program knows. Only
    // reads: what is refused stays as it is, with whoever writes to it.
    Status check_lake(const PipelineIdentity& who);
    Status sweep_shadow_tables(std::stop_token stop);
    Status drop_shadow(TableId table, std::stop_token stop);
    // After an error the memory of what the lake holds is read anew before it is used.
    Status refresh();
    Status refresh_if_stale();
    Status write_flush(Flush& flush, const std::stop_token& stop);
    // A transaction that may change tables_. `work` returns the note of the snapshot.
    Status transact(const std::string& what, std::stop_token stop,
                    const std::function<Result<Note>(Tables&)>& work);

    const DuckLakeConfig config_;
    std::optional<ducklake::Fence> fence_;
    std::unique_ptr<Lake> lake_;
    std::unique_ptr<Copies> copies_;
    std::unique_ptr<ducklake::Upkeep> upkeep_;
    std::mutex mutex_;  // One transaction at a time; guards what follows.
    Tables tables_;
    Note note_;  // Of the newest snapshot.
    bool is_stale_ = false;
};

Result<Recovered> DuckLakeDestination::open(const PipelineIdentity& who, std::stop_token stop) {
    WALBROOK_CHECK(!lake_);
    if (const auto problems = config_.problems(); !problems.empty()) {
        return Error(ErrorCode::config, problems.front());
    }
    ducklake::LakeOptions options;
    options.catalog = ducklake::parse_catalog(config_.catalog);
    std::error_code error;
    options.data_path =
        (std::filesystem::absolute(config_.data_path, error).lexically_normal() / "").string();
    options.pipeline_id = who.pipeline_id;
    options.memory_bytes_max = who.memory_bytes_max;
    options.memory_bytes_in_need = who.memory_bytes_in_need;
    if (!who.work_dir.empty()) {
        // What a crash left there is of no use to anybody.
        options.temp_directory = who.work_dir + "/duckdb-temp";
        std::filesystem::remove_all(options.temp_directory, error);
        if (error) {
            return Error(ErrorCode::config,
                         "empty the folder " + options.temp_directory + ": " + error.message());
        }
    }
    if (std::filesystem::create_directories(options.data_path, error); error) {
        return Error(ErrorCode::config,
                     "make the folder data_path " + options.data_path + ": " + error.message());
    }
    if (options.catalog.is_file()) {
        std::filesystem::create_directories(
            std::filesystem::path(options.catalog.target).parent_path(), error);
        WALBROOK_TRY(fence_, ducklake::Fence::take(options.catalog.target));
    }
    WALBROOK_TRY(lake_, Lake::open(std::move(options)));
    WALBROOK_RETURN_IF_ERROR(check_lake(who));
    WALBROOK_RETURN_IF_ERROR(lake_->take_over());
    WALBROOK_RETURN_IF_ERROR(ducklake::claim_data_folder(*lake_));
    copies_ = std::make_unique<Copies>(*lake_);
    upkeep_ = std::make_unique<ducklake::Upkeep>(*lake_);
    const std::lock_guard lock(mutex_);
    WALBROOK_TRY(const std::optional<Note> found, lake_->newest_note());
    note_ = found.value_or(Note{});
    bool is_new = false;
    Status begun = lake_->transact(
        "begin",
        [&]() -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(
                lake_->new_files().watch(ducklake::records_folder(*lake_, "pipeline")));
            WALBROOK_TRY(is_new, ducklake::open_records(lake_->session(), who));
            return note_;
        },
        stop);
    WALBROOK_RETURN_IF_ERROR(std::move(begun));
    WALBROOK_RETURN_IF_ERROR(ducklake::inline_records(lake_->session()));
    // There is nothing to remember; and files beside a new catalog may belong to one that
    // was moved away by mistake.
    if (is_new) {
        upkeep_->expect_nothing();
        return Recovered{};
    }
    WALBROOK_RETURN_IF_ERROR(refresh());
    WALBROOK_RETURN_IF_ERROR(sweep_shadow_tables(stop));
    WALBROOK_RETURN_IF_ERROR(ducklake::sweep_files(*lake_).status());
    Recovered recovered;
    recovered.position = note_.position;
    for (const auto& [oid, record] : tables_.records) {
        recovered.tables.push_back({{oid}, record.phase, record.position, record.schema});
    }
    return recovered;
}

Status DuckLakeDestination::check_lake(const PipelineIdentity& who) {
    WALBROOK_TRY(const bool has_records, ducklake::check_records(lake_->session(), who));
    WALBROOK_RETURN_IF_ERROR(lake_->newest_note().status());
    return has_records ? ducklake::load_records(*lake_).status() : Status();
}

Status DuckLakeDestination::refresh() {
    WALBROOK_TRY(const std::optional<Note> note, lake_->newest_note());
    auto records = ducklake::load_records(*lake_);
    if (!records) return lake_->excused(std::move(records).error());
    tables_.records = *std::move(records);
    if (!note && !tables_.records.empty()) {
        return Error(
            ErrorCode::corrupt_state,
            "the lake has tables of ours and no snapshot with a position: somebody expired "
            "the snapshots that walbrook made; move the lake away to begin anew");
    }
    note_ = note.value_or(Note{});
    is_stale_ = false;
    return {};
}

Status DuckLakeDestination::refresh_if_stale() {
    return is_stale_ || lake_->is_broken() ? refresh() : Status();
}

Status DuckLakeDestination::transact(const std::string& what, std::stop_token stop,
                                     const std::function<Result<Note>(Tables&)>& work) {
    WALBROOK_RETURN_IF_ERROR(refresh_if_stale());
    Tables changed = tables_;
    Note note;
    Status status = lake_->transact(
        what,
        [&]() -> Result<Note> {
            WALBROOK_TRY(note, work(changed));
            return note;
        },
        stop);
    if (!status) {
        is_stale_ = true;
        return status;
    }
    tables_ = std::move(changed);
    note_ = note;
    upkeep_->count_commit();
    return {};
}

Status DuckLakeDestination::sweep_shadow_tables(std::stop_token stop) {
    WALBROOK_TRY(const QueryResult found,
                 lake_->session().query(fmt::format(
                     "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = "
                     "'lake' AND starts_with(table_name, {})",
                     quote_literal(ducklake::kShadowPrefix))));
    if (found.rows() == 0) return {};
    return transact("sweep", stop, [&](Tables&) -> Result<Note> {
        for (std::size_t i = 0; i < found.rows(); ++i) {
            WALBROOK_RETURN_IF_ERROR(lake_->session().run(
                "DROP TABLE " +
                ducklake::lake_name(found.text(i, 0).value_or(""), found.text(i, 1).value_or(""))));
        }
        return note_;
    });
}

Result<std::string> DuckLakeDestination::schema_folder(const std::string& schema,
                                                       const std::stop_token& stop) {
    for (const bool may_create : {true, false}) {
        WALBROOK_TRY(const QueryResult rows,
                     lake_->session().query(fmt::format(
                         "SELECT schema_name, path FROM {}.ducklake_schema WHERE end_snapshot IS "
                         "NULL",
                         Lake::metadata())));
        for (std::size_t i = 0; i < rows.rows(); ++i) {
            if (same_name(rows.text(i, 0).value_or(""), schema)) {
                return rows.text(i, 1).value_or("");
            }
        }
        if (!may_create) break;
        Status made = transact("schema", stop, [&](Tables&) -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(
                lake_->session().run("CREATE SCHEMA lake." + quote_identifier(schema)));
            return note_;
        });
        WALBROOK_RETURN_IF_ERROR(std::move(made));
    }
    return Error(ErrorCode::internal, "the lake does not have the schema that was just made");
}

Status DuckLakeDestination::begin_copy(const CopyTargetPtr& copy, std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    if (const auto refusals = ducklake::table_refusals({copy->schema}); !refusals.empty()) {
        return Error(ErrorCode::schema_mismatch, refusals.front()).with_table(copy->schema->id.oid);
    }
    WALBROOK_RETURN_IF_ERROR(refresh_if_stale());
    if (tables_.shadows.contains(copy->schema->id.oid)) {
        WALBROOK_RETURN_IF_ERROR(drop_shadow(copy->schema->id, stop));
    }
    WALBROOK_TRY(const std::string folder, schema_folder(copy->schema->schema, stop));
    return copies_->begin(copy, folder);
}

Status DuckLakeDestination::finish_copy(const CopyTargetPtr& copy, std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    Status status = transact("copy", stop, [&](Tables& tables) -> Result<Note> {
        WALBROOK_TRY(std::string folder, copies_->register_files(copy));
        tables.shadows[copy->schema->id.oid] = {copy, copy->schema, std::move(folder)};
        return note_;
    });
    if (status) copies_->finish(copy);
    return status;
}

Status DuckLakeDestination::discard_copy(const CopyTargetPtr& copy, std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    copies_->discard(copy);
    const auto shadow = tables_.shadows.find(copy->schema->id.oid);
    if (shadow == tables_.shadows.end() || shadow->second.copy->attempt != copy->attempt) return {};
    return drop_shadow(copy->schema->id, stop);
}

Status DuckLakeDestination::drop_shadow(TableId table, std::stop_token stop) {
    return transact("discard", std::move(stop), [&](Tables& tables) -> Result<Note> {
        ducklake::TableChanges changes(*lake_, tables);
        WALBROOK_RETURN_IF_ERROR(changes.drop_shadow(table));
        return note_;
    });
}

Result<Ack> DuckLakeDestination::apply(Flush& flush, Ack, std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    // A writer of another process makes our COMMIT fail at once: SQLite does not wait
    // where a read transaction becomes a writing one. It is gone in a moment.
    Backoff backoff({std::chrono::milliseconds(100), std::chrono::milliseconds(2'000)});
    for (int attempt = 1;; ++attempt) {
        Status status = write_flush(flush, stop);
        if (status) return Ack::durable;
        const ErrorCode code = status.error().code();
        // Another program's upkeep may replace files while they are about to be read, and a table
        // would stop for that.
        const bool may_be_late =
            attempt == 1 && code == ErrorCode::corrupt_state && status.error().table_oid() != 0;
        const bool may_pass =
            code == ErrorCode::aborted || code == ErrorCode::unavailable || may_be_late;
        if (!may_pass || attempt == kApplyAttempts || !sleep_for(backoff.next(), stop)) {
            return std::move(status).error();
        }
        flush.rewind();
    }
}

Status DuckLakeDestination::write_flush(Flush& flush, const std::stop_token& stop) {
    WALBROOK_RETURN_IF_ERROR(refresh_if_stale());
    const Note note{std::max(note_.position, flush.position()),
                    std::max(note_.commit_time_us, flush.commit_time_us())};
    // The transaction is rolled back when there is nothing in it.
    bool has_nothing_to_write = false;
    std::optional<ducklake::FlushWriter> writer;
    std::string what;
    Status status = transact(what, stop, [&](Tables& tables) -> Result<Note> {
        writer.emplace(*lake_, tables, stop);
        WALBROOK_RETURN_IF_ERROR(writer->write(flush));
        what = writer->kind();
        if (!writer->has_written() && note.position == note_.position) {
            has_nothing_to_write = true;
            return Error(ErrorCode::cancelled, "nothing to write");
        }
        if (!writer->makes_snapshot()) {
            WALBROOK_RETURN_IF_ERROR(
                ducklake::note_quiet_position(lake_->session(), note.position));
        }
        return note;
    });
    if (has_nothing_to_write) {
        is_stale_ = false;
        return {};
    }
    if (writer && !ducklake::may_be_there(status)) writer->remove_files();
    WALBROOK_RETURN_IF_ERROR(std::move(status));
    writer->report_to(*upkeep_);
    if (!writer->makes_snapshot()) upkeep_->count_quiet_flush();
    return {};
}

Result<Lsn> DuckLakeDestination::read_position(std::stop_token) {
    const std::lock_guard lock(mutex_);
    WALBROOK_RETURN_IF_ERROR(refresh());
    return note_.position;
}

Status DuckLakeDestination::maintain(std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    WALBROOK_RETURN_IF_ERROR(refresh_if_stale());
    // The next flush would do it, but that may be long in coming.
    if (ducklake::TableChanges::has_names_to_settle(tables_)) {
        return transact("rename", stop, [&](Tables& tables) -> Result<Note> {
            ducklake::TableChanges changes(*lake_, tables);
            WALBROOK_RETURN_IF_ERROR(changes.settle_names());
            return note_;
        });
    }
    const Status status = upkeep_->step(tables_, note_, stop);
    if (status) return {};
    is_stale_ = true;
    return lake_->excused(status.error());
}

Status DuckLakeDestination::close() {
    const std::lock_guard lock(mutex_);
    upkeep_.reset();
    copies_.reset();
    lake_.reset();
    fence_.reset();
    return {};
}

}  // namespace

std::unique_ptr<Destination> make_ducklake_destination(DuckLakeConfig config) {
    return std::make_unique<DuckLakeDestination>(std::move(config));
}

}  // namespace walbrook
