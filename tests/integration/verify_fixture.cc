#include "integration/verify_fixture.h"

#include "support/run_form.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook::testing {

using nlohmann::json;

VerifyAnswer::VerifyAnswer(const Finished& ran)
    : code(ran.exit.code), err(ran.output), rss_kib_max(ran.exit.rss_kib_max), cpu(ran.exit.cpu) {
    // The report is printed in lines, the log is not.
    const std::size_t begin = std::min(ran.output.find("{\n"), ran.output.size());
    report = json::parse(ran.output.substr(begin), nullptr, false);
    if (report.is_discarded()) report = {{"tables", json::array()}};
}

const json& VerifyAnswer::table(const std::string& name) const {
    static const json none = json::object();
    for (const json& each : report.at("tables")) {
        if (each.at("table") == name) return each;
    }
    return none;
}

std::set<std::string> VerifyAnswer::differences(const std::string& name) const {
    std::set<std::string> all;
    for (const json& one : table(name).value("differences", json::array())) {
        std::string text = one.at("kind");
        if (one.contains("key")) {
            for (const auto& [column, value] : one.at("key").items()) {
                text += fmt::format(" {}={}", column, value.get<std::string>());
            }
        }
        text += fmt::format(" {}:{}", one.at("at_source").get<int>(),
                            one.at("in_destination").get<int>());
        for (const json& column : one.value("columns", json::array())) {
            text += " " + column.get<std::string>();
        }
        all.insert(std::move(text));
    }
    return all;
}

namespace {

std::vector<std::string> arguments(const Replica& replica, std::vector<std::string> args) {
    args.insert(args.begin(), "verify");
    args.insert(args.end(), {"--config", replica.folder() + "/walbrook.yaml"});
    return args;
}

}  // namespace

VerifyAnswer VerifyTest::verify(std::vector<std::string> args) {
    args.insert(args.begin(), "--json");
    return VerifyAnswer(run_program(walbrook_program(),
                                    {.args = arguments(replica(), std::move(args))},
                                    std::chrono::minutes(is_long_form() ? 60 : 5)));
}

std::unique_ptr<ChildProcess> VerifyTest::start_verify(std::vector<std::string> args,
                                                       const std::string& output_file) {
    ChildOptions options;
    options.output_file = output_file;
    options.args = arguments(replica(), std::move(args));
    return std::make_unique<ChildProcess>(walbrook_program(), options);
}

}  // namespace walbrook::testing
