// The store of the examples keeps the contract that ours keep.

#include "file_store.h"

#include "stores/stores_contract.h"
#include "support/temp_dir.h"

#include <filesystem>
#include <fstream>

namespace walbrook {
namespace {

class FileHarness final : public StoreHarness {
 public:
    std::unique_ptr<Store> make() override {
        std::filesystem::remove(path() + ".new");
        return make_file_store(path());
    }
    bool keeps_records() const override { return true; }
    void write_newer_format() override { std::ofstream(path()) << R"({"format": 2})"; }
    // Until the store is made again every write fails: the new file cannot be made.
    void refuse_table(TableId) override { std::filesystem::create_directory(path() + ".new"); }

 private:
    std::string path() const { return folder_.file("store.json"); }
    testing::TempDir folder_;
};

INSTANTIATE_TEST_SUITE_P(Kinds, StoreContract,
                         ::testing::Values(StoreKind{
                             "File", [] { return std::make_unique<FileHarness>(); }}),
                         store_kind_name);

}  // namespace
}  // namespace walbrook
