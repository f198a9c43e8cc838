// The cores and adapters near a GPU, of folders as sysfs has them, and the binding to them.
#include "orrery/worker/gpu_place.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iostream>
#include <thread>

#include "base/temporary_folder.h"
#include "orrery/kernels/gpu.h"

namespace orrery::worker {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Two sockets: 0 with a GPU and an adapter below one switch and a second adapter beside it, 1 with
/// a GPU and no adapter.
class FakeSysfs {
 public:
  FakeSysfs() {
    add_device("pci0000:00/0000:00:01.0/0000:3a:00.0", "0000:3b:00.0", "0-3,8-11", "0");
    add_device("pci0000:80/0000:80:01.0", "0000:81:00.0", "4-7,12-15", "1");
  }

  const fs::path& root() const { return folder_.path(); }

  void write(const std::string& file, const std::string& text) const {
    fs::create_directories((root() / file).parent_path());
    std::ofstream(root() / file) << text << "\n";
  }

  void add_device(const std::string& above, const std::string& pci_id, const std::string& cores,
                  const std::string& node) const {
    const std::string device = "devices/" + above + "/" + pci_id;
    write(device + "/local_cpulist", cores);
    write(device + "/numa_node", node);
    fs::create_directories(root() / "bus/pci/devices");
    fs::create_directory_symlink(root() / device, root() / "bus/pci/devices" / pci_id);
  }

  void add_adapter(const std::string& kind, const std::string& name, const std::string& above,
                   const std::string& pci_id, const std::string& node) const {
    add_device(above, pci_id, "", node);
    fs::create_directories(root() / "class" / kind / name);
    fs::create_directory_symlink(root() / "devices" / above / pci_id,
                                 root() / "class" / kind / name / "device");
  }

  GpuPlace place(const std::string& pci_id) const { return find_gpu_place(root(), pci_id); }

 private:
  TemporaryFolder folder_;
};

TEST(GpuPlace, HasTheCoresOfItsNumaNode) {
  const FakeSysfs sysfs;
  EXPECT_THAT(sysfs.place("0000:3b:00.0").cores, ElementsAre(0, 1, 2, 3, 8, 9, 10, 11));
  EXPECT_THAT(sysfs.place("0000:81:00.0").cores, ElementsAre(4, 5, 6, 7, 12, 13, 14, 15));
}

TEST(GpuPlace, IsEmptyWhereSysfsDoesNotTell) {
  const FakeSysfs sysfs;
  EXPECT_THAT(sysfs.place("0000:ff:00.0").cores, IsEmpty());
  EXPECT_THAT(sysfs.place("").cores, IsEmpty());
  EXPECT_THAT(find_gpu_place("/nowhere", "0000:3b:00.0").adapters, IsEmpty());
  fs::remove(sysfs.root() / "bus/pci/devices/0000:3b:00.0/local_cpulist");
  EXPECT_THAT(sysfs.place("0000:3b:00.0").cores, IsEmpty());
  sysfs.write("bus/pci/devices/0000:81:00.0/local_cpulist", "");
  EXPECT_THAT(sysfs.place("0000:81:00.0").cores, IsEmpty());
}

TEST(GpuPlace, HasTheAdapterBelowItsSwitchBeforeOneOfItsNumaNode) {
  const FakeSysfs sysfs;
  sysfs.add_adapter("infiniband", "mlx5_0", "pci0000:40/0000:40:01.0", "0000:41:00.0", "0");
  sysfs.add_adapter("infiniband", "mlx5_1", "pci0000:00/0000:00:01.0/0000:3a:04.0", "0000:3c:00.0",
                    "0");
  const GpuPlace place = sysfs.place("0000:3b:00.0");
  EXPECT_THAT(place.adapters, ElementsAre("mlx5_1"));
  EXPECT_EQ(place.adapter_link, "PCI switch");
}

TEST(GpuPlace, HasAllAdaptersThatAreEquallyNear) {
  const FakeSysfs sysfs;
  sysfs.add_adapter("infiniband", "mlx5_0", "pci0000:00/0000:00:02.0", "0000:51:00.0", "0");
  sysfs.add_adapter("infiniband", "mlx5_1", "pci0000:40/0000:40:01.0", "0000:41:00.0", "1");
  sysfs.add_adapter("infiniband", "mlx5_2", "pci0000:00/0000:00:03.0", "0000:52:00.0", "0");
  const GpuPlace near = sysfs.place("0000:3b:00.0");
  EXPECT_THAT(near.adapters, ElementsAre("mlx5_0", "mlx5_2"));
  EXPECT_EQ(near.adapter_link, "NUMA node");
}

TEST(GpuPlace, HasAnAdapterOfTheOtherSocketWhereThatIsTheOnlyOne) {
  const FakeSysfs sysfs;
  sysfs.add_adapter("infiniband", "mlx5_0", "pci0000:00/0000:00:02.0", "0000:51:00.0", "0");
  const GpuPlace place = sysfs.place("0000:81:00.0");
  EXPECT_THAT(place.adapters, ElementsAre("mlx5_0"));
  EXPECT_EQ(place.adapter_link, "machine");
}

TEST(GpuPlace, HasAnEthernetAdapterWhereThereIsNoneForRdma) {
  const FakeSysfs sysfs;
  fs::create_directories(sysfs.root() / "class/net/lo");  // no hardware
  sysfs.add_adapter("net", "eth0", "pci0000:80/0000:80:02.0", "0000:82:00.0", "1");
  EXPECT_THAT(sysfs.place("0000:81:00.0").adapters, ElementsAre("eth0"));
}

TEST(GpuPlace, IsAskedForByTheNameThatSysfsHas) {
  if (kernels::gpu_count() == 0) {
    std::cerr << "NOT RUN ON A GPU: " << kernels::why_no_gpu() << "\n";
    GTEST_SKIP() << kernels::why_no_gpu();
  }
  EXPECT_THAT(kernels::gpu_pci_id(0),
              testing::MatchesRegex("[0-9a-f]+:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f].[0-7]"));
}

TEST(CoreList, IsReadAndWritten) {
  EXPECT_THAT(cores_of_list("0-2,8\n"), ElementsAre(0, 1, 2, 8));
  EXPECT_THAT(cores_of_list("5"), ElementsAre(5));
  const std::vector<int> cores = {0, 1, 2, 8, 10, 11};
  EXPECT_EQ(list_of_cores(cores), "0-2,8,10-11");
  EXPECT_EQ(list_of_cores({}), "");
}

TEST(CoreList, IsEmptyOfATextThatIsNone) {
  for (const char* text : {"", "\n", "none", "3-1", "1-2-3", "-1", "1,,2", "0-99999999"}) {
    EXPECT_THAT(cores_of_list(text), IsEmpty()) << text;
  }
}

TEST(Binding, IsToTheCoresNearTheGpuThatAreAllowed) {
  const std::vector<int> near = {0, 1, 2, 3};
  EXPECT_THAT(cores_to_bind(near, std::vector<int>{2, 3, 4, 5}), ElementsAre(2, 3));
  EXPECT_THAT(cores_to_bind(near, std::vector<int>{4, 5}), IsEmpty());
}

/// In a thread of its own, which takes its binding with it.
Binding bound_in_a_thread(const GpuPlace& place, std::vector<int>& cores_after) {
  Binding binding;
  std::thread([&] {
    binding = bind_near(place);
    cores_after = allowed_cores();
  }).join();
  return binding;
}

TEST(Binding, LeavesTheThreadOnTheCoresNearItsGpu) {
  const std::vector<int> allowed = allowed_cores();
  ASSERT_FALSE(allowed.empty());
  const int last = allowed.back();
  std::vector<int> after;
  const Binding binding = bound_in_a_thread(
      {.pci_id = "0000:3b:00.0", .cores = {last}, .adapters = {}, .adapter_link = {}}, after);
  EXPECT_TRUE(binding.is_bound) << binding.text;
  EXPECT_THAT(after, ElementsAre(last));
  EXPECT_THAT(binding.text, HasSubstr("bound to cores " + std::to_string(last)));
}

TEST(Binding, LeavesAThreadAloneThatMayNotRunNearItsGpuAndSaysSo) {
  std::vector<int> after;
  const Binding binding = bound_in_a_thread(
      {.pci_id = "0000:3b:00.0", .cores = {1000}, .adapters = {}, .adapter_link = {}}, after);
  EXPECT_FALSE(binding.is_bound);
  EXPECT_EQ(after, allowed_cores());
  EXPECT_THAT(binding.text, HasSubstr("--cpu-bind=none"));
}

TEST(Binding, LeavesAThreadAloneWhereTheMachineDoesNotTell) {
  std::vector<int> after;
  const Binding binding = bound_in_a_thread(
      {.pci_id = "0000:3b:00.0", .cores = {}, .adapters = {}, .adapter_link = {}}, after);
  EXPECT_FALSE(binding.is_bound);
  EXPECT_EQ(after, allowed_cores());
  EXPECT_THAT(binding.text, HasSubstr("does not say"));
}

}  // namespace
}  // namespace orrery::worker
