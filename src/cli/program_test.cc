// The program as its users meet it: arguments in, exit code and text out.

#include "cli/exit_code.h"
#include "cli/log_sink.h"
#include "cli/signals.h"
#include "cli/status_text.h"
#include "support/eventually.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace walbrook {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Outcome {
    int code = -1;
    std::string out;
    std::string err;
};

class ProgramTest : public ::testing::Test {
 protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "walbrook.XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    // Nothing listens on port 1.
    void write_config(const std::string& more = "") const {
        std::ofstream(folder_ + "/walbrook.yaml")
            << "pipeline: {id: 1, publication_name: p, work_dir: work, pg_connection: {url: "
               "'postgres://u:hunter2@127.0.0.1:1/d'}}\ndestination: {blackhole: {}}\n"
               "server: {listen: off}\n"
            << more;
    }
    // Its output goes to the files <prefix>out and <prefix>err.
    pid_t start(const std::vector<std::string>& arguments, const std::string& prefix = "") const {
        const pid_t child = fork();
        if (child != 0) return child;
        std::vector<std::string> all = {WALBROOK_PROGRAM_PATH};
        all.insert(all.end(), arguments.begin(), arguments.end());
        std::vector<char*> raw;
        for (std::string& argument : all) raw.push_back(argument.data());
        raw.push_back(nullptr);
        for (const auto& [fd, file] : {std::pair(1, "out"), std::pair(2, "err")}) {
            const std::string path = folder_ + "/" + prefix + file;
            dup2(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), fd);
        }
        if (chdir(folder_.c_str()) != 0) _exit(127);
        execv(raw[0], raw.data());
        _exit(127);
    }
    Outcome finish(pid_t child, const std::string& prefix = "") const {
        int status = 0;
        waitpid(child, &status, 0);
        return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
                text_of(prefix + "out"), text_of(prefix + "err")};
    }
    Outcome run(const std::vector<std::string>& arguments, const std::string& prefix = "") const {
        return finish(start(arguments, prefix), prefix);
    }
    std::string text_of(const std::string& file) const {
        std::ifstream in(folder_ + "/" + file);
        return {std::istreambuf_iterator<char>(in), {}};
    }
    bool eventually_in_log(const std::string& text) const {
        return walbrook::testing::eventually(
            [&] { return text_of("err").find(text) != std::string::npos; });
    }
    std::string folder_;
};

TEST_F(ProgramTest, SaysItsVersion) {
    const Outcome outcome = run({"version"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out,
                ::testing::MatchesRegex("walbrook [0-9.]+\ndestinations: blackhole.*\n"));
}

TEST_F(ProgramTest, AWrongCommandLineIs64) {
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{},
                                                      {"runn"},
                                                      {"run", "--until"},
                                                      {"run", "--timeout", "-1"},
                                                      {"config"},
                                                      {"status", "extra"}}) {
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.code, 64);
        EXPECT_THAT(outcome.err, Not(::testing::IsEmpty()));
    }
    EXPECT_EQ(run({"--help"}).code, 0);
    EXPECT_THAT(run({"run", "--help"}).out, HasSubstr("--until-caught-up"));
}

TEST_F(ProgramTest, ABadConfigurationIs78WithAllProblems) {
    std::ofstream(folder_ + "/walbrook.yaml") << "pipeline: {id: x}\ndestinaton: {}\n";
    for (const std::vector<std::string>& arguments :
         {std::vector<std::string>{"run"}, {"config", "show"}, {"status"}}) {
        const Outcome outcome = run(arguments);
        EXPECT_EQ(outcome.code, 78);
        EXPECT_THAT(outcome.err, HasSubstr("the configuration has 5 problems"));
        EXPECT_THAT(outcome.err, HasSubstr("walbrook.yaml:2: destinaton: there is no such key"));
        EXPECT_EQ(outcome.out, "");
    }
    const Outcome missing = run({"run", "--config", "other.yaml"});
    EXPECT_EQ(missing.code, 78);
    EXPECT_THAT(missing.err, HasSubstr("other.yaml: cannot be read"));
}

TEST_F(ProgramTest, ConfigShowHidesThePassword) {
    write_config();
    const Outcome outcome = run({"config", "show"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("url: \"postgres://u:***@127.0.0.1:1/d\""));
    EXPECT_THAT(outcome.out, Not(HasSubstr("hunter2")));
}

TEST_F(ProgramTest, ConfigSchemaIsJson) {
    const Outcome outcome = run({"config", "schema"});
    EXPECT_EQ(outcome.code, 0);
    EXPECT_TRUE(nlohmann::json::accept(outcome.out));
}

TEST_F(ProgramTest, StatusSaysWhenNothingRuns) {
    write_config();
    const Outcome outcome = run({"status"});
    EXPECT_EQ(outcome.code, 69);
    EXPECT_THAT(outcome.err, HasSubstr("no pipeline runs here: nothing answers on "));
    EXPECT_THAT(outcome.err, HasSubstr("work/control.sock; start one with `walbrook run`"));
}

TEST_F(ProgramTest, ASourceOutOfReachIs69AfterTheTimeout) {
    write_config();
    const Outcome outcome = run({"run", "--timeout", "0.6"});
    EXPECT_EQ(outcome.code, 69);
    EXPECT_THAT(outcome.err, HasSubstr("\"message\":\"not reachable yet\""));
    EXPECT_THAT(outcome.err, HasSubstr("\"code\":\"unavailable\""));
    EXPECT_THAT(outcome.err, Not(HasSubstr("hunter2")));
    struct stat found{};
    ASSERT_EQ(stat((folder_ + "/work").c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 0777, 0700U);
}

TEST_F(ProgramTest, WhileItTriesItAnswersAndASignalEndsIt) {
    write_config("log: {format: human, level: warn}\n");
    const pid_t child = start({"run"});
    ASSERT_TRUE(eventually_in_log("not reachable yet"));
    const Outcome status = run({"status"}, "status.");
    EXPECT_EQ(status.code, 0) << status.err;
    EXPECT_THAT(status.out, HasSubstr("pipeline 1 (p -> blackhole): starting"));
    EXPECT_THAT(status.out, HasSubstr("problem "));
    const Outcome json = run({"status", "--json"}, "status.");
    EXPECT_EQ(nlohmann::json::parse(json.out).at("state"), "starting");
    const Outcome second = run({"run"}, "second.");
    EXPECT_EQ(second.code, 75);
    EXPECT_THAT(second.err, HasSubstr("another process already uses"));
    kill(child, SIGTERM);
    EXPECT_EQ(finish(child).code, 0);
}

TEST(LogLine, IsOneLineWhateverIsInIt) {
    const LogRecord record{
        LogLevel::warn,
        "a\nb",
        {{"plain", "x"}, {"spaced", "x y"}, {"empty", ""}, {"bad", "\x1b[31m\n"}}};
    EXPECT_EQ(human_line(record), "a\\nb  plain=x  spaced=\"x y\"  empty=\"\"  bad=\\x1b[31m\\n");
    const LogRecord clash{LogLevel::info, "m", {{"time", "t"}, {"x", "\xff"}}};
    EXPECT_EQ(json_line(clash, 1'700'000'000'123'456),
              "{\"time\":\"2023-11-14T22:13:20.123Z\",\"level\":\"info\",\"message\":\"m\","
              "\"time_\":\"t\",\"x\":\"\xEF\xBF\xBD\"}");
}

TEST(SignalWatch, CountsSignals) {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<std::pair<int, int>> seen;
    const auto watch = SignalWatch::create([&](int signal, int count) {
        const std::lock_guard lock(mutex);
        seen.emplace_back(signal, count);
        changed.notify_all();
    });
    ASSERT_TRUE(watch);
    const auto send = [&](int signal, std::size_t expected) {
        kill(getpid(), signal);
        std::unique_lock lock(mutex);
        return changed.wait_for(lock, std::chrono::seconds(10),
                                [&] { return seen.size() == expected; });
    };
    ASSERT_TRUE(send(SIGTERM, 1));
    ASSERT_TRUE(send(SIGINT, 2));
    EXPECT_THAT(seen, ::testing::ElementsAre(std::pair(SIGTERM, 1), std::pair(SIGINT, 2)));
}

TEST(StatusText, IsForPeople) {
    StatusReport report{"1", 7, "shop", "ducklake", {}};
    report.pipeline.state = "streaming";
    report.pipeline.lag_bytes = 1536;
    report.pipeline.lag_ms = 61'000;
    report.pipeline.changes_received = 1234567;
    report.pipeline.problems = {"slot is far behind"};
    report.pipeline.tables.resize(2);
    report.pipeline.tables[0] = {
        TableId{1}, "public", "größe", TablePhase::copying, 30, 60, 0, 2048, false, "", ""};
    report.pipeline.tables[1] = {TableId{2}, "s", "t",   TablePhase::errored, 0,       0,
                                 9,          0,   false, "bad row",           "fix it"};
    EXPECT_EQ(status_as_text(report),
              "pipeline 7 (shop -> ducklake): streaming\n"
              "lag         1.5 KiB, 1 min 1 s\n"
              "positions   source 0/0, received 0/0, durable 0/0, confirmed 0/0\n"
              "since start 0 transactions, 1,234,567 changes, 0 flushes; 0 B in batches\n"
              "problem     slot is far behind\n"
              "\n"
              "table         phase         rows copied  changes     held  note\n"
              "public.größe  copying 50 %           30        0  2.0 KiB\n"
              "s.t           errored                 0        9           bad row; fix it\n");
}

TEST(ExitCodes, EveryErrorHasOne) {
    EXPECT_EQ(exit_code_of(ErrorCode::timed_out), ExitCode::unreachable);
    EXPECT_EQ(exit_code_of(ErrorCode::conflict), ExitCode::try_again);
    EXPECT_EQ(exit_code_of(ErrorCode::permission), ExitCode::permission);
    EXPECT_EQ(exit_code_of(ErrorCode::config), ExitCode::config);
    EXPECT_EQ(exit_code_of(ErrorCode::missing_slot), ExitCode::internal);
    EXPECT_EQ(exit_code_of(ErrorCode::cancelled), ExitCode::done);
}

}  // namespace
}  // namespace walbrook
