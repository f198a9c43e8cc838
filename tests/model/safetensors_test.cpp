#include "orrery/model/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

#include "mutated_text.h"
#include "orrery/base/error.h"
#include "reference_decoder.h"
#include "temporary_directory.h"

namespace orrery::model {
namespace {

/// A file by its parts: header text and data.
std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

std::string message_of(const std::string& content) {
  const TemporaryDirectory directory;
  directory.write("x.safetensors", content);
  try {
    SafetensorsFile file(directory.path() / "x.safetensors");
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

const std::string kEight(8, '\0');

TEST(SafetensorsFile, ReadsEachFloatingType) {
  const TemporaryDirectory directory;
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"d":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},)"
      R"("f":{"dtype":"F32","shape":[1],"data_offsets":[8,12]},)"
      R"("h":{"dtype":"F16","shape":[],"data_offsets":[12,14]},)"
      R"("b":{"dtype":"BF16","shape":[1,1],"data_offsets":[14,16]}}   )";
  std::string data(16, '\0');
  const double d = 1.5;
  const float f = -2.25;
  const uint16_t h = 0x3E00, b = 0x4049;  // 1.5; 3.140625
  std::memcpy(data.data(), &d, 8);
  std::memcpy(data.data() + 8, &f, 4);
  std::memcpy(data.data() + 12, &h, 2);
  std::memcpy(data.data() + 14, &b, 2);
  directory.write("x.safetensors", file_of(header, data));

  const SafetensorsFile file(directory.path() / "x.safetensors");
  const auto value = [&](const char* name, at::IntArrayRef shape, at::ScalarType dtype) {
    at::Tensor into = at::empty(shape, dtype);
    file.read_into(name, into);
    return into.item<double>();
  };

  EXPECT_EQ(value("d", {1}, at::kDouble), 1.5);
  EXPECT_EQ(value("d", {1}, at::kFloat), 1.5);
  EXPECT_EQ(value("f", {1}, at::kDouble), -2.25);
  EXPECT_EQ(value("h", {}, at::kFloat), 1.5);
  EXPECT_EQ(value("b", {1, 1}, at::kDouble), 3.140625);
  EXPECT_EQ(file.tensors().size(), 4u);
}

TEST(SafetensorsFile, ReadsWhatIsWritten) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "x.safetensors";
  const std::vector<NamedTensor> tensors = {{"b", at::arange(6, at::kFloat).view({2, 3})},
                                            {"a", at::arange(5, at::kDouble).div(3)},
                                            {"empty", at::empty({0, 4}, at::kFloat)},
                                            {"ids", at::arange(3, at::kLong)},
                                            {"half", at::arange(3, at::kFloat).to(at::kBFloat16)}};

  write_safetensors(path, tensors);

  const SafetensorsFile file(path);
  at::Tensor a = at::empty({5}, at::kDouble), b = at::empty({2, 3}, at::kFloat);
  file.read_into("a", a);
  file.read_into("b", b);
  EXPECT_TRUE(at::equal(a, tensors[1].values));
  EXPECT_TRUE(at::equal(b, tensors[0].values));
  EXPECT_EQ(file.tensors().at("half").dtype, "BF16");
  EXPECT_EQ(file.tensors().at("ids").shape, std::vector<int64_t>{3});
  const std::string content = directory.read("x.safetensors");
  uint64_t header_size = 0;
  std::memcpy(&header_size, content.data(), 8);
  EXPECT_EQ(header_size % 8, 0u);
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".writing"));
}

TEST(SafetensorsFile, NamesEveryKindOfDamage) {
  const std::string good = R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  ASSERT_EQ(message_of(file_of(good, kEight)), "no error");
  const auto entry = [](const std::string& text) { return R"({"w":)" + text + "}"; };
  const std::pair<std::string, const char*> cases[] = {
      {"abc", "the file is truncated"},
      {std::string(8, '\xff') + "{}", "header length"},
      {file_of(good, kEight).substr(0, 30), "header length"},
      {file_of("{", kEight), "a JSON object"},
      {file_of("[]", kEight), "a JSON object"},
      {file_of(good, kEight.substr(0, 7)), "the file is truncated"},
      {file_of(good, kEight + "x"), "bytes after the last tensor"},
      {file_of(entry("[]"), kEight), "an object"},
      {file_of(entry(R"({"shape":[2],"data_offsets":[0,8]})"), kEight), "dtype"},
      {file_of(entry(R"({"dtype":5,"shape":[2],"data_offsets":[0,8]})"), kEight), "dtype"},
      {file_of(entry(R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})"), kEight), "dtype"},
      {file_of(entry(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})"), kEight), "shape"},
      {file_of(entry(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"), kEight), "shape"},
      {file_of(entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), kEight), "shape"},
      {file_of(entry(R"({"dtype":"F32","shape":[2]})"), kEight), "data_offsets"},
      {file_of(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), kEight), "data_offsets"},
      {file_of(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})"), kEight),
       "data_offsets"},
      {file_of(entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), kEight),
       "as many bytes"},
      {file_of(entry(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})"), kEight),
       "as many bytes"},
      {file_of(entry(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]})"),
               kEight),
       "as many bytes"},
      {file_of(entry(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"), kEight),
       "leaves a gap"},
      {file_of(R"({"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
               R"("w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
               kEight),
       "tensor w overlaps"},
      {file_of(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
               R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
               kEight),
       "w twice"},
  };
  for (const auto& [content, expected] : cases) {
    const std::string text = message_of(content);
    EXPECT_NE(text.find(expected), std::string::npos) << expected << " but: " << text;
    EXPECT_NE(text.find("x.safetensors"), std::string::npos) << text;
  }
}

TEST(SafetensorsFile, RefusesAShapeOrTypeThatDoesNotFit) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "x.safetensors";
  write_safetensors(
      path, std::vector<NamedTensor>{{"w", at::ones({2, 3})}, {"ids", at::arange(3, at::kLong)}});
  const SafetensorsFile file(path);

  EXPECT_THROW(file.read_into("w", at::empty({3, 2})), CheckpointError);
  EXPECT_THROW(file.read_into("ids", at::empty({3})), CheckpointError);
  EXPECT_THROW(file.read_into("absent", at::empty({3})), CheckpointError);
  EXPECT_THROW(SafetensorsFile(directory.path() / "absent"), CheckpointError);
  EXPECT_THROW(SafetensorsFile(directory.path()), CheckpointError);
}

TEST(SafetensorsFile, KeepsTheOldContentWhenTheNewCannotBeWritten) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "x.safetensors";
  write_safetensors(path, std::vector<NamedTensor>{{"w", at::ones({2})}});
  const std::string before = directory.read("x.safetensors");

  EXPECT_THROW(write_safetensors(path, std::vector<NamedTensor>{{"w", at::ones({2}, at::kByte)}}),
               CheckpointError);
  EXPECT_THROW(write_safetensors(directory.path() / "absent" / "x.safetensors", {}), OutputError);

  EXPECT_EQ(directory.read("x.safetensors"), before);
}

std::string directory_message(const TemporaryDirectory& directory) {
  try {
    SafetensorsDirectory stored(directory.path());
  } catch (const CheckpointError& error) {
    return error.what();
  }
  return "no error";
}

TEST(SafetensorsDirectory, FollowsTheIndexAndChecksItAgainstTheShards) {
  const TemporaryDirectory directory;
  write_safetensors(directory.path() / "a.safetensors",
                    std::vector<NamedTensor>{{"v", at::ones({2})}, {"w", at::ones({2})}});
  const auto with_index = [&](const std::string& map) {
    directory.write("model.safetensors.index.json", R"({"weight_map":)" + map + "}");
    return directory_message(directory);
  };

  EXPECT_NE(directory_message(directory).find("no weights"), std::string::npos);
  EXPECT_EQ(with_index(R"({"v":"a.safetensors","w":"a.safetensors"})"), "no error");
  EXPECT_NE(with_index(R"({"v":"a.safetensors"})").find("tensor w"), std::string::npos);
  EXPECT_NE(with_index(R"({"u":"a.safetensors"})").find("weight_map of u"), std::string::npos);
  EXPECT_NE(with_index(R"({"v":"b.safetensors"})").find("b.safetensors: cannot be opened"),
            std::string::npos);
  EXPECT_NE(with_index(R"({"v":"../a.safetensors"})").find("a file name"), std::string::npos);
  EXPECT_NE(with_index("[]").find("weight_map"), std::string::npos);
}

TEST(SafetensorsFile, ADeepHeaderIsRefused) {
  for (const std::string& header :
       {"{\"a\":" + deep_json() + "}", "{\"__metadata__\":" + deep_json() + "}"}) {
    const std::string text = message_of(file_of(header, kEight));
    EXPECT_NE(text.find("nested deeper"), std::string::npos) << text.substr(0, 200);
  }
}

TEST(SafetensorsDirectory, ADeepIndexIsRefused) {
  const TemporaryDirectory directory;
  directory.write("model.safetensors.index.json", "{\"weight_map\":" + deep_json() + "}");
  EXPECT_THROW(SafetensorsDirectory{directory.path()}, CheckpointError);
}

}  // namespace
}  // namespace orrery::model
