#include "server/status_report.h"

#include "base/json_number.h"
#include "telemetry/log.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace walbrook {
namespace {

using Json = nlohmann::ordered_json;

// Texts of servers and libraries come through here as they do through the log.
std::vector<std::string> masked(std::vector<std::string> texts) {
    for (std::string& text : texts) text = without_secrets(text);
    return texts;
}

Json json_of(const TableStatus& table) {
    return {{"oid", table.table.oid},
            {"schema", table.schema},
            {"name", table.name},
            {"phase", name_of(table.phase)},
            {"copies", table.copies},
            {"rows_copied", table.rows_copied},
            {"rows_estimated", table.rows_estimated},
            {"changes_applied", table.changes_applied},
            {"held_bytes", table.held_bytes},
            {"paused", table.paused},
            {"reason", without_secrets(table.reason)},
            {"remedy", without_secrets(table.remedy)}};
}

Json json_of(const VerifiedTable& table) {
    return {{"schema", table.schema},
            {"name", table.name},
            {"outcome", table.outcome},
            {"reason", without_secrets(table.reason)},
            {"position", to_string(table.position)},
            {"differing_rows", table.differing_rows},
            {"has_more", table.has_more},
            {"copied_again", table.copied_again},
            {"at_secs", table.at_secs}};
}

Json json_of(const VerifyStatus& verify) {
    Json tables = Json::array();
    for (const VerifiedTable& table : verify.tables) tables.push_back(json_of(table));
    return {{"schedule", verify.schedule},
            {"running", verify.running},
            {"next_at_secs", verify.next_at_secs},
            {"failures", verify.failures},
            {"error", without_secrets(verify.error)},
            {"began_at_secs", verify.began_at_secs},
            {"took_ms", verify.took_ms},
            {"position", to_string(verify.position)},
            {"equal", verify.equal},
            {"different", verify.different},
            {"not_compared", verify.not_compared},
            {"tables", std::move(tables)}};
}

// Reads members and remembers whether one was missing or of another type.
class Reader {
 public:
    explicit Reader(const Json& object) : object_(object) {}
    template <class T>
    void read(const char* name, T& into) {
        const auto found = object_.find(name);
        if (found == object_.end()) {
            bad_ = true;
            return;
        }
        if constexpr (std::is_same_v<T, std::string>) {
            bad_ |= !found->is_string();
        } else if constexpr (std::is_same_v<T, bool>) {
            bad_ |= !found->is_boolean();
        } else {
            bad_ |= !is_number_of<T>(*found);
        }
        if (!bad_) into = found->get<T>();
    }
    void read(const char* name, Lsn& into) {
        std::string text;
        read(name, text);
        const std::optional<Lsn> lsn = parse_lsn(text);
        bad_ |= !lsn;
        into = lsn.value_or(Lsn{});
    }
    bool bad() const { return bad_; }

 private:
    const Json& object_;
    bool bad_ = false;
};

bool read_table(const Json& object, TableStatus& table) {
    if (!object.is_object()) return false;
    Reader in(object);
    std::string phase;
    in.read("oid", table.table.oid);
    in.read("schema", table.schema);
    in.read("name", table.name);
    in.read("phase", phase);
    in.read("copies", table.copies);
    in.read("rows_copied", table.rows_copied);
    in.read("rows_estimated", table.rows_estimated);
    in.read("changes_applied", table.changes_applied);
    in.read("held_bytes", table.held_bytes);
    in.read("paused", table.paused);
    in.read("reason", table.reason);
    in.read("remedy", table.remedy);
    const std::optional<TablePhase> known = parse_table_phase(phase);
    table.phase = known.value_or(TablePhase::errored);
    return !in.bad() && known;
}

bool read_verified_table(const Json& object, VerifiedTable& table) {
    if (!object.is_object()) return false;
    Reader in(object);
    in.read("schema", table.schema);
    in.read("name", table.name);
    in.read("outcome", table.outcome);
    in.read("reason", table.reason);
    in.read("position", table.position);
    in.read("differing_rows", table.differing_rows);
    in.read("has_more", table.has_more);
    in.read("copied_again", table.copied_again);
    in.read("at_secs", table.at_secs);
    return !in.bad();
}

bool read_verify(const Json& object, VerifyStatus& verify) {
    if (!object.is_object()) return false;
    Reader in(object);
    in.read("schedule", verify.schedule);
    in.read("running", verify.running);
    in.read("next_at_secs", verify.next_at_secs);
    in.read("failures", verify.failures);
    in.read("error", verify.error);
    in.read("began_at_secs", verify.began_at_secs);
    in.read("took_ms", verify.took_ms);
    in.read("position", verify.position);
    in.read("equal", verify.equal);
    in.read("different", verify.different);
    in.read("not_compared", verify.not_compared);
    const auto tables = object.find("tables");
    if (in.bad() || tables == object.end() || !tables->is_array()) return false;
    for (const Json& table : *tables) {
        if (!read_verified_table(table, verify.tables.emplace_back())) return false;
    }
    return true;
}

// Labels escape backslash, quote and newline (Prometheus, "Text-based format").
std::string label(std::string_view text) {
    std::string out;
    for (const char c : text) {
        if (c == '\n') {
            out += "\\n";
            continue;
        }
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

// Writes metrics, each family with its HELP and TYPE once.
class MetricsWriter {
 public:
    explicit MetricsWriter(std::uint64_t pipeline_id)
        : pipeline_(fmt::format("pipeline=\"{}\"", pipeline_id)) {}

    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        out_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    }
    template <class T>
    void value(T number, std::string_view labels = "") {
        out_ += fmt::format("{}{{{}{}{}}} {}\n", name_, pipeline_, labels.empty() ? "" : ",",
                            labels, number);
    }
    template <class T>
    void single(std::string_view name, std::string_view type, std::string_view help, T number) {
        family(name, type, help);
        value(number);
    }
    std::string take() { return std::move(out_); }

 private:
    const std::string pipeline_;
    std::string name_;
    std::string out_;
};

void write_pipeline(MetricsWriter& out, const PipelineStatus& status) {
    out.single("walbrook_received_lsn_bytes", "gauge", "Position up to which WAL was received.",
               status.received.value);
    out.single("walbrook_durable_lsn_bytes", "gauge",
               "Position up to which everything is durable in the destination.",
               status.durable.value);
    out.single("walbrook_confirmed_lsn_bytes", "gauge", "Position confirmed to Postgres.",
               status.confirmed.value);
    out.single("walbrook_source_end_lsn_bytes", "gauge", "End of the source's WAL, as last heard.",
               status.source_end.value);
    out.single("walbrook_lag_bytes", "gauge", "WAL of the source that is not durable yet.",
               status.lag_bytes);
    out.single("walbrook_lag_seconds", "gauge", "Age of the oldest change that is not durable.",
               static_cast<double>(status.lag_ms) / 1000.0);
    out.single("walbrook_changes_received_total", "counter", "Row changes received.",
               status.changes_received);
    out.single("walbrook_transactions_total", "counter", "Transactions received.",
               status.transactions);
    out.single("walbrook_flushes_total", "counter", "Flushes that are durable.", status.flushes);
    out.single("walbrook_batch_memory_bytes", "gauge", "Memory held by batches.",
               status.memory_bytes);
    out.single("walbrook_memory_limit_bytes", "gauge",
               "Memory that the pipeline takes as all there is.", status.memory_limit_bytes);
    out.single("walbrook_memory_used_bytes", "gauge",
               "Memory in use by the container or the process.", status.memory_used_bytes);
    out.single("walbrook_memory_backpressure_active", "gauge",
               "1 while memory is short and reading pauses or goes in small steps.",
               status.memory_state.empty() || status.memory_state == "ample" ? 0 : 1);
    out.single("walbrook_memory_backpressure_activations_total", "counter",
               "How often memory has become short.", status.memory_short_times);
    out.single("walbrook_memory_backpressure_seconds_total", "counter",
               "How long memory was short.", static_cast<double>(status.memory_short_ms) / 1000.0);
    out.single("walbrook_problems", "gauge", "Things that an operator should look at.",
               status.problems.size());
}

void write_tables(MetricsWriter& out, const std::vector<TableStatus>& tables) {
    const auto labels = [](const TableStatus& table) {
        return fmt::format("schema=\"{}\",table=\"{}\"", label(table.schema), label(table.name));
    };
    out.family("walbrook_table_phase", "gauge", "1 for the phase in which the table is.");
    for (const TableStatus& table : tables) {
        out.value(1, fmt::format("{},phase=\"{}\"", labels(table), name_of(table.phase)));
    }
    out.family("walbrook_table_rows_copied", "gauge", "Rows of the present or last copy.");
    for (const TableStatus& table : tables) out.value(table.rows_copied, labels(table));
    out.family("walbrook_table_rows_estimated", "gauge",
               "Rows that the copy expects, by the source's statistics.");
    for (const TableStatus& table : tables) out.value(table.rows_estimated, labels(table));
    out.family("walbrook_table_changes_total", "counter", "Row changes applied since the start.");
    for (const TableStatus& table : tables) out.value(table.changes_applied, labels(table));
    out.family("walbrook_table_held_bytes", "gauge", "Changes that wait for the table's copy.");
    for (const TableStatus& table : tables) out.value(table.held_bytes, labels(table));
}

void write_verify(MetricsWriter& out, const VerifyStatus& verify) {
    if (!verify.schedule.empty()) {
        out.single("walbrook_verify_running", "gauge",
                   "1 while source and destination are being compared, as scheduled.",
                   verify.running ? 1 : 0);
        out.single("walbrook_verify_next_timestamp_seconds", "gauge",
                   "When the next scheduled comparison is due.", verify.next_at_secs);
        out.single("walbrook_verify_failures_total", "counter",
                   "Scheduled comparisons that did not end, since the start.", verify.failures);
    }
    if (verify.began_at_secs == 0) return;
    out.single("walbrook_verify_last_timestamp_seconds", "gauge",
               "When the last comparison of source and destination began.", verify.began_at_secs);
    out.single("walbrook_verify_last_duration_seconds", "gauge", "How long it took.",
               static_cast<double>(verify.took_ms) / 1000.0);
    out.single("walbrook_verify_last_lsn_bytes", "gauge", "Position at which it compared.",
               verify.position.value);
    out.family("walbrook_verify_tables", "gauge",
               "Tables, by what the last comparison of each found.");
    out.value(verify.equal, "outcome=\"equal\"");
    out.value(verify.different, "outcome=\"different\"");
    out.value(verify.not_compared, "outcome=\"not compared\"");
    out.family("walbrook_verify_differing_rows", "gauge",
               "Rows of a table that differed from the source.");
    for (const VerifiedTable& table : verify.tables) {
        if (table.outcome != "different") continue;
        out.value(table.differing_rows, fmt::format("schema=\"{}\",table=\"{}\"",
                                                    label(table.schema), label(table.name)));
    }
}

}  // namespace

std::string to_json(const StatusReport& report) {
    const PipelineStatus& status = report.pipeline;
    Json tables = Json::array();
    for (const TableStatus& table : status.tables) tables.push_back(json_of(table));
    const Json out = {{"version", report.version},
                      {"pipeline_id", report.pipeline_id},
                      {"publication", report.publication},
                      {"destination", report.destination},
                      {"state", status.state},
                      {"received", to_string(status.received)},
                      {"durable", to_string(status.durable)},
                      {"confirmed", to_string(status.confirmed)},
                      {"source_end", to_string(status.source_end)},
                      {"lag_bytes", status.lag_bytes},
                      {"lag_ms", status.lag_ms},
                      {"changes_received", status.changes_received},
                      {"transactions", status.transactions},
                      {"flushes", status.flushes},
                      {"memory_bytes", status.memory_bytes},
                      {"memory_state", status.memory_state},
                      {"memory_limit_bytes", status.memory_limit_bytes},
                      {"memory_used_bytes", status.memory_used_bytes},
                      {"memory_short_ms", status.memory_short_ms},
                      {"memory_short_times", status.memory_short_times},
                      {"problems", masked(status.problems)},
                      {"verify", json_of(report.verify)},
                      {"tables", std::move(tables)}};
    // Names of tables may be bytes that are no UTF-8 (SQL_ASCII databases).
    return out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<StatusReport> status_report_from_json(std::string_view text) {
    const auto malformed = [] {
        return Error(ErrorCode::malformed,
                     "the answer is not a status report; are both programs of the same version?");
    };
    const Json in = Json::parse(text, nullptr, false);
    if (!in.is_object()) return malformed();
    StatusReport report;
    PipelineStatus& status = report.pipeline;
    Reader reader(in);
    reader.read("version", report.version);
    reader.read("pipeline_id", report.pipeline_id);
    reader.read("publication", report.publication);
    reader.read("destination", report.destination);
    reader.read("state", status.state);
    reader.read("received", status.received);
    reader.read("durable", status.durable);
    reader.read("confirmed", status.confirmed);
    reader.read("source_end", status.source_end);
    reader.read("lag_bytes", status.lag_bytes);
    reader.read("lag_ms", status.lag_ms);
    reader.read("changes_received", status.changes_received);
    reader.read("transactions", status.transactions);
    reader.read("flushes", status.flushes);
    reader.read("memory_bytes", status.memory_bytes);
    reader.read("memory_state", status.memory_state);
    reader.read("memory_limit_bytes", status.memory_limit_bytes);
    reader.read("memory_used_bytes", status.memory_used_bytes);
    reader.read("memory_short_ms", status.memory_short_ms);
    reader.read("memory_short_times", status.memory_short_times);
    if (reader.bad()) return malformed();
    const auto problems = in.find("problems");
    const auto tables = in.find("tables");
    if (problems == in.end() || !problems->is_array() || tables == in.end() ||
        !tables->is_array()) {
        return malformed();
    }
    for (const Json& problem : *problems) {
        if (!problem.is_string()) return malformed();
        status.problems.push_back(problem.get<std::string>());
    }
    for (const Json& table : *tables) {
        if (!read_table(table, status.tables.emplace_back())) return malformed();
    }
    const auto verify = in.find("verify");
    if (verify == in.end() || !read_verify(*verify, report.verify)) return malformed();
    return report;
}

std::string to_prometheus(const StatusReport& report) {
    MetricsWriter out(report.pipeline_id);
    out.family("walbrook_info", "gauge", "Always 1; says which program runs.");
    out.value(1, fmt::format("version=\"{}\",publication=\"{}\",destination=\"{}\"",
                             label(report.version), label(report.publication),
                             label(report.destination)));
    out.family("walbrook_state", "gauge", "1 for the state in which the pipeline is.");
    out.value(1, fmt::format("state=\"{}\"", label(report.pipeline.state)));
    write_pipeline(out, report.pipeline);
    write_tables(out, report.pipeline.tables);
    write_verify(out, report.verify);
    return out.take();
}

}  // namespace walbrook
