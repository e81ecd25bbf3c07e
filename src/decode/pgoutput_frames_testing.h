#pragma once

#include <string_view>

namespace walbrook {

struct Frame {
    std::string_view name;
    std::string_view hex;
    bool in_stream = false;
};

// One or more of every message.
inline constexpr Frame kFrames[] = {
    {"begin", "42 0000000001537158 0002bb6b5cd2f4a0 000002e1"},
    {"commit", "43 00 0000000001537158 0000000001537188 0002bb6b5cd2f4a0"},
    {"origin", "4f 0000000001537158 6f6e6500"},
    {"relation",
     "52 00004001 7075626c696300 7400 64 0002 01 696400 00000017 ffffffff "
     "00 6e6f746500 000006a4 000c0006"},
    {"type", "59 00004005 7075626c696300 6d6f6f6400"},
    {"insert", "49 00004001 4e 0004 74 00000001 37 6e 75 62 00000002 0102"},
    {"insert of no columns", "49 00004001 4e 0000"},
    {"update", "55 00004001 4e 0002 74 00000001 37 75"},
    {"update of the key", "55 00004001 4b 0002 74 00000001 37 6e 4e 0002 74 00000001 38 75"},
    {"update under full", "55 00004001 4f 0001 62 00000000 4e 0001 6e"},
    {"delete", "44 00004001 4b 0001 74 00000001 37"},
    {"delete under full", "44 00004001 4f 0002 74 00000001 37 6e"},
    {"truncate", "54 00000002 03 00004001 00004005"},
    {"message", "4d 01 0000000001537158 77616c00 00000002 6869"},
    {"stream start", "53 000002e1 01"},
    {"stream stop", "45"},
    {"stream commit", "63 000002e1 00 0000000001537158 0000000001537188 0002bb6b5cd2f4a0"},
    {"stream abort", "41 000002e1 000002e2"},
    {"parallel abort", "41 000002e1 000002e2 0000000001537158 0002bb6b5cd2f4a0"},
    {"begin prepare", "62 0000000001537158 0000000001537188 0002bb6b5cd2f4a0 000002e1 67696400"},
    {"prepare", "50 00 0000000001537158 0000000001537188 0002bb6b5cd2f4a0 000002e1 67696400"},
    {"commit prepared",
     "4b 00 0000000001537158 0000000001537188 0002bb6b5cd2f4a0 000002e1 67696400"},
    {"rollback prepared",
     "72 00 0000000001537158 0000000001537188 0002bb6b5cd2f4a0 0002bb6b5cd2f4a1 000002e1 "
     "67696400"},
    {"stream prepare",
     "70 00 0000000001537158 0000000001537188 0002bb6b5cd2f4a0 000002e1 67696400"},
    {"streamed insert", "49 000002e1 00004001 4e 0001 6e", true},
    {"streamed update", "55 000002e1 00004001 4b 0001 6e 4e 0001 6e", true},
    {"streamed delete", "44 000002e1 00004001 4b 0001 6e", true},
    {"streamed truncate", "54 000002e1 00000001 00 00004001", true},
    {"streamed relation", "52 000002e1 00004001 00 7400 66 0000", true},
    {"streamed type", "59 000002e1 00004005 7000 6d00", true},
    {"streamed message", "4d 000002e1 01 0000000001537158 7000 00000000", true},
};

}  // namespace walbrook
