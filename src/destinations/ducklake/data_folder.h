#pragma once

#include "destinations/ducklake/lake.h"
#include "walbrook/result.h"

#include <filesystem>

// The folder data_path belongs to one lake: what its catalog does not know there is swept.
namespace walbrook::ducklake {

// Makes it this lake's, by a file with the lake's id; ErrorCode::config if it is another's.
Status claim_data_folder(Lake& lake);

// Whether a folder is some lake's data_path.
bool is_data_folder(const std::filesystem::path& folder);

}  // namespace walbrook::ducklake
