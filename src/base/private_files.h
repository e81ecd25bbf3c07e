#pragma once

#include "walbrook/result.h"

#include <string>

namespace walbrook {

// For this user alone, whatever the umask: made if it is missing (a folder with its parents, which
// are made as usual), and made narrower if others could read it. ErrorCode::permission when that is
// not allowed or another user owns it, ErrorCode::config for a symbolic link (but one to a folder,
// of root or of this user) and for a folder that is meant for everybody, such as /tmp.
Status make_private_folder(const std::string& path);  // Mode 0700.
Status make_private_file(const std::string& path);    // Mode 0600; what it holds stays.

}  // namespace walbrook
