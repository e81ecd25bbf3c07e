#pragma once

// What every destination must do, as tests. A destination passes by building one file
// and linking walbrook_testing and gtest_main:
//
//     class MyHarness : public walbrook::testing::DestinationHarness { … };
//
//     const bool registered = walbrook::testing::register_conformance(
//         "mine", [] { return std::make_unique<MyHarness>(); });
//
// Each case becomes the test conformance.mine/<case> and gets a harness of its own. The
// cases look only at what readers see and at what the interface promises.

#include "walbrook/destination.h"
#include "walbrook/testing/rows.h"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook::testing {

// A case that a destination cannot pass, and why. Only a declared case is left out, and
// the documents of the destination list the same limits.
struct Limit {
    std::string conformance_case;
    std::string reason;
};

// One storage, empty at first, with destinations that come and go over it.
class DestinationHarness {
 public:
    virtual ~DestinationHarness() = default;

    // A destination over the storage, not opened. Called again after the last one was closed, or
    // died, which must lose nothing that was acknowledged; also in a forked process, whose copy of
    // this harness is killed with it. The case one_writer has two at the same time.
    virtual std::unique_ptr<Destination> create() = 0;

    // What a reader sees in the table of this name: the rows, in any order, with every
    // value as Postgres prints it (DateStyle ISO, TimeZone UTC, extra_float_digits 3,
    // bytea_output hex). Nothing if readers see no such table. `table` says which columns
    // are expected, of which type; a column that is not there is a failure to report.
    // Called while a destination is open, but never during one of its calls.
    virtual std::optional<std::vector<TextRow>> read(const TableSchema& table) = 0;

    // Deaths are real: the destination lives in a fork of this process, which is killed (SIGKILL),
    // and no destructor runs; none is open here at the fork. False where that cannot be, as the
    // storage is memory of this process, or a library that the destination needs does not work in
    // a fork. Then a death is a destructor without close(), and what a destination writes only
    // there is taken for durable.
    virtual bool can_be_killed() const { return true; }

    // A folder that exists and is private to us; handed to open().
    virtual std::string work_dir() const { return {}; }
    // How long a call may go on after it was asked to stop. One that is not back then hangs, and
    // the program ends with a message: far more than any call takes, on however slow a machine.
    virtual std::chrono::seconds stop_bound() const { return std::chrono::seconds(120); }
};

using MakeHarness = std::function<std::unique_ptr<DestinationHarness>()>;

// Registers all cases but those of the limits with gtest; `name` becomes part of their names.
// Before main() runs the tests: from the initialiser of a global constant, or from main itself.
bool register_conformance(const std::string& name, const MakeHarness& make,
                          const std::vector<Limit>& limits = {});

struct ConformanceCase {
    std::string_view name;
    std::string_view promise;  // What the destination promises, for documents.
};
std::vector<ConformanceCase> conformance_cases();

}  // namespace walbrook::testing
