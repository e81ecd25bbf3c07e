// The conformance suite for a store: here for the one in file_store.h.

#include "file_store.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <walbrook/testing/store_conformance.h>

using namespace walbrook;
namespace fs = std::filesystem;

struct Harness : testing::StoreHarness {
    std::string folder_ = mkdtemp((fs::temp_directory_path() / "store-XXXXXX").string().data());
    ~Harness() override { fs::remove_all(folder_); }
    std::unique_ptr<Store> create() override {
        fs::remove(folder_ + "/store.json.new");
        return make_file_store(folder_ + "/store.json");
    }
    bool write_newer_format() override {
        return std::ofstream(folder_ + "/store.json") << R"({"format": 2})", true;
    }
    // The file that every change makes cannot be made.
    bool refuse_table(TableId) override {
        return fs::create_directory(folder_ + "/store.json.new");
    }
};

const bool registered =
    testing::register_store_conformance("file", [] { return std::make_unique<Harness>(); });
