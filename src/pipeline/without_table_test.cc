#include "pipeline/without_table.h"

#include "walbrook/testing/rows.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace walbrook {
namespace {

using testing::ChangeRecorder;
using testing::TableMaker;
using testing::TestFlush;

const TableSchemaPtr kSchema = TableMaker(1, "t").column("a").make();

std::string what_is_left(std::shared_ptr<TestFlush> flush) {
    WithoutTable rest(std::move(flush), kSchema->id, Lsn{5}, "refused");
    std::string all;
    for (;;) {
        const Result<const FlushItem*> item = rest.next();
        if (!item || *item == nullptr) return all;
        const auto* freeze = std::get_if<Freeze>(*item);
        const bool is_retire = std::holds_alternative<Retire>(**item);
        all += freeze != nullptr ? "freeze at " + to_string(freeze->position) + "; "
               : is_retire       ? "retire; "
                                 : "another; ";
    }
}

TEST(WithoutTable, ItStandsStillFromThenOn) {
    auto flush = std::make_shared<TestFlush>(Lsn{10});
    flush->add(ChangeRecorder(kSchema).insert({"1"}).take());
    EXPECT_EQ(what_is_left(flush), "freeze at 0/5; ");
}

// It left the publication in the same flush: it has no record any more.
TEST(WithoutTable, NoFreezeBringsItsRecordBack) {
    auto flush = std::make_shared<TestFlush>(Lsn{10});
    flush->add(ChangeRecorder(kSchema).insert({"1"}).take());
    flush->add(Retire{kSchema->id});
    EXPECT_EQ(what_is_left(flush), "retire; ");
}

}  // namespace
}  // namespace walbrook
