{
  "variables": {
    "mergelite_asan%": 0,
    "mergelite_faults%": 0,
    "sqlite_headers%": "<!(node -p \"require('path').relative('.',require.resolve('better-sqlite3/package.json')+'/../deps/sqlite3')\")",
  },
  "targets": [
    {
      "target_name": "mergelite",
      "sources": ["<!@(node -p \"require('fs').readdirSync('native').filter(f=>f.endsWith('.cc')).map(f=>'native/'+f).join(' ')\")"],
      "include_dirs": [
        "<(sqlite_headers)",
      ],
      "defines": ["NAPI_VERSION=8"],
      "cflags_cc!": ["-fno-omit-frame-pointer", "-std=gnu++17", "-std=gnu++20"],
      "cflags_cc": ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wall", "-Wextra", "-Werror"],
      "conditions": [
        ["mergelite_faults==1", {
          "sources": ["native/faults/faults.cc", "native/faults/files.cc"],
          "defines": ["MERGELITE_FAULTS"],
        }],
        ["OS=='linux'", {
          "defines": ["NAPI_EXTERN=__attribute__((visibility(\"default\"),weak))"],
          "ldflags": ["-Wl,--version-script=../native/exports.map", "-Wl,-z,relro,-z,now", "-Wl,--as-needed"],
          "conditions": [
            ["mergelite_asan==1", {
              "cflags_cc": ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1"],
              "ldflags": ["-fsanitize=address,undefined"],
            }, {
              # Without libc among its needs one file serves glibc and musl; see scripts/prebuild.mjs.
              "cflags_cc": ["-O2", "-ffunction-sections", "-fdata-sections"],
              "ldflags": ["-Wl,--gc-sections", "-nostdlib"],
              "libraries": ["-lgcc"],
            }],
          ],
        }],
        ["OS=='mac'", {
          "xcode_settings": {
            "CLANG_CXX_LANGUAGE_STANDARD": "c++17",
            "GCC_ENABLE_CPP_EXCEPTIONS": "NO",
            "GCC_ENABLE_CPP_RTTI": "NO",
            "MACOSX_DEPLOYMENT_TARGET": "11.0",
          },
        }],
      ],
    },
  ],
}
