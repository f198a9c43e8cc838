// Writes a pre-tokenized dataset with HDF5 itself, right or spoiled in one place.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "orrery/base/hdf5.h"

namespace orrery::data {

/// A vocabulary of <s> </s> a b c d: a prompt {2, 3} is "ab".
struct TokenRecords {
  std::string kind = "prompts";
  std::vector<std::vector<int32_t>> prompt = {{2, 3}, {4}, {5, 5, 2}};
  std::vector<std::vector<int32_t>> completion = {};  // written where they are not empty
  std::vector<std::vector<int32_t>> chosen = {};
  std::vector<std::vector<int32_t>> rejected = {};
  std::vector<std::string> answer = {};
  std::vector<std::string> fields = {};
  std::vector<std::string> tokens = {"<s>", "</s>", "a", "b", "c", "d"};
  std::vector<int64_t> eos = {1};
};

/// `spoil` may change the open file before it is closed.
void write_token_file(const std::string& path, const TokenRecords& records,
                      const std::function<void(hid_t file)>& spoil = {});

/// Replaces what is there under this name; groups on the way are made.
void write_numbers(hid_t file, const std::string& name, const std::vector<int32_t>& values);
void write_numbers(hid_t file, const std::string& name, const std::vector<int64_t>& values);
void write_numbers(hid_t file, const std::string& name, const std::vector<uint8_t>& values);
void write_attribute(hid_t file, const char* object, const char* name,
                     const std::vector<int64_t>& values);
void write_attribute(hid_t file, const char* object, const char* name, const std::string& value);

}  // namespace orrery::data
