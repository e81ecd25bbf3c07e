#include "support/child_process.h"
#include "support/database.h"
#include "support/eventually.h"
#include "support/temp_dir.h"

#include <gtest/gtest.h>

#include <signal.h>
#include <sys/stat.h>

namespace walbrook::testing {
namespace {

TEST(TempDir, IsPrivateAndGoesWithItsContents) {
    std::filesystem::path path;
    {
        const TempDir folder;
        path = folder.path();
        struct stat info{};
        ASSERT_EQ(stat(path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 0777, 0700U);
        write_file(folder.file("a"), "text");
        EXPECT_EQ(read_file(folder.file("a")), "text");
    }
    EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Eventually, GivesTheLastAnswer) {
    int asked = 0;
    EXPECT_TRUE(eventually([&] { return ++asked == 3; }));
    EXPECT_EQ(asked, 3);
    EXPECT_FALSE(eventually([] { return false; }, std::chrono::milliseconds(5)));
}

TEST(ChildProcess, HandsOverArgumentsEnvironmentAndOutput) {
    const TempDir folder;
    const Finished done = run_program(
        "sh", {.args = {"-c", "echo $1 $COLOUR; pwd; echo problem >&2; exit 7", "sh", "a b"},
               .env = {{"COLOUR", "green"}},
               .folder = folder.path().string()});
    EXPECT_EQ(done.exit.code, 7);
    EXPECT_EQ(done.exit.signal, 0);
    EXPECT_GT(done.exit.rss_kib_max, 0);
    EXPECT_EQ(done.output, "a b green\n" + folder.path().string() + "\nproblem\n");
}

TEST(ChildProcess, KilledOneSaysSo) {
    ChildProcess child("sleep", {.args = {"1000"}});
    EXPECT_TRUE(child.is_running());
    EXPECT_FALSE(child.wait(std::chrono::milliseconds(1)));
    EXPECT_GT(child.rss_kib_max_now(), 0);
    EXPECT_EQ(child.kill().signal, SIGKILL);
    EXPECT_FALSE(child.is_running());
    child.signal(SIGTERM);  // Nothing happens to whoever has the pid now.
}

TEST(ChildProcess, AMissingProgramIsThrown) {
    EXPECT_THROW(ChildProcess("/does/not/exist", {}), std::runtime_error);
}

TEST(Difference, NamesRowsOfOneSide) {
    EXPECT_EQ(difference({"a", "b"}, {"a", "b"}), "");
    EXPECT_EQ(difference({"a", "b"}, {"b", "c"}),
              "2 rows against 2; 1 only left, 1 only right\n- a\n+ c");
    EXPECT_NE(difference({"a", "a"}, {"a"}), "");
}

}  // namespace
}  // namespace walbrook::testing
