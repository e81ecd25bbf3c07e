#include "destinations/ducklake/kept_files.h"

#include "destinations/ducklake/ducklake_fixture.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace walbrook::testing {
namespace {

namespace fs = std::filesystem;

// A process that was cut off hears of the end of its commit while another one begins.
TEST(KeptFiles, WhatItsOwnerSettlesDuringAStartIsNotLost) {
    const TempFolder top;
    const std::string data = top / "data/";
    std::vector<std::string> files;
    for (int i = 0; i < 100; ++i) files.push_back(data + "public/t/" + std::to_string(i));
    fs::create_directories(data + "public/t");
    std::atomic<bool> is_over = false;
    std::thread owner([&] {
        for (int i = 0; i < 100; ++i) {
            ducklake::KeptFiles kept(data);
            for (const std::string& file : files) std::ofstream(file) << "x";
            EXPECT_TRUE(kept.keep(files));
            for (const std::string& file : files) fs::remove(file);
            kept.forget();
        }
        is_over = true;
    });
    for (bool is_ok = true; is_ok && !is_over;) {
        const Status status = ducklake::KeptFiles(data).recover(std::chrono::hours(24));
        EXPECT_TRUE(is_ok = status.ok()) << status.error().message();
    }
    owner.join();
}

}  // namespace
}  // namespace walbrook::testing
