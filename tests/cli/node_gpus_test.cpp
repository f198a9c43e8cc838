// What a node tells of its GPUs, of folders as Linux and NVIDIA's driver have them.
#include "node_gpus.h"

#include <gtest/gtest.h>

#include <fstream>

#include "base/temporary_folder.h"

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file) << text << "\n";
}

TEST(NodeGpus, AreNvidiasDisplayDevicesOnTheBus) {
  const TemporaryFolder sys;
  const fs::path devices = sys / "bus/pci/devices";
  const auto add = [&](const char* name, const char* vendor, const char* kind) {
    write(devices / name / "vendor", vendor);
    write(devices / name / "class", kind);
  };
  EXPECT_EQ(gpus_on_bus(sys.path()), 0);
  add("0000:3b:00.0", "0x10de", "0x030200");
  add("0000:3c:00.0", "0x10de", "0x030000");
  add("0000:3c:00.1", "0x10de", "0x040300");  // its sound
  add("0000:3d:00.0", "0x10de", "0x068000");  // NVSwitch
  add("0000:02:00.0", "0x1a03", "0x030000");  // the board's own
  fs::create_directories(devices / "0000:99:00.0");
  EXPECT_EQ(gpus_on_bus(sys.path()), 2);
}

TEST(NodeGpus, AreCountedAsTheDriverNumbersThem) {
  const TemporaryFolder dev;
  EXPECT_EQ(gpus_of_driver(dev.path()), 0);
  for (const char* name : {"nvidia0", "nvidia1", "nvidiactl"}) write(dev / name, "");
  EXPECT_EQ(gpus_of_driver(dev.path()), 2);
}

TEST(NodeGpus, HaveADriverOfARelease) {
  const TemporaryFolder proc;
  EXPECT_EQ(driver_release(proc.path()), "");
  const fs::path version = proc / "driver/nvidia/version";
  write(version,
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\n"
        "GCC version:  gcc version 12.2.0");
  EXPECT_EQ(driver_release(proc.path()), "550.54.15");
  write(version,
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build");
  EXPECT_EQ(driver_release(proc.path()), "580.65.06");
  write(version, "nothing that is known");
  EXPECT_EQ(driver_release(proc.path()), "");
}

TEST(NodeGpus, AreCutIntoInstancesByMig) {
  const TemporaryFolder proc;
  EXPECT_EQ(mig_instances(proc.path()), 0);
  const fs::path gpus = proc / "driver/nvidia/capabilities";
  for (const char* part : {"gpu0/mig/gi1/access", "gpu0/mig/gi2/ci0/access", "gpu1/mig/gi1/access",
                           "gpu1/mig/access", "mig/config"}) {
    write(gpus / part, "DeviceFileMinor: 1");
  }
  EXPECT_EQ(mig_instances(proc.path()), 3);
}

}  // namespace
}  // namespace orrery::cli
