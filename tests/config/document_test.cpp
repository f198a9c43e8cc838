#include "orrery/config/document.h"

#include <gtest/gtest.h>
#include <sys/stat.h>  // mkfifo

#include "config_folder.h"

namespace orrery::config {
namespace {

/// What `text` says as `section.key=value@line`, in order.
Texts entries_of(const Document& document) {
  Texts texts;
  for (const Entry& entry : document.entries) {
    texts.push_back(
        base::concat(entry.section, ".", entry.key, "=", entry.value, "@", entry.where.line));
  }
  return texts;
}

Texts entries_of(const std::string& text) {
  std::vector<Problem> problems;
  const Document document = parse_document(text, "x.cfg", problems);
  for (const Problem& problem : problems) ADD_FAILURE() << problem.message();
  return entries_of(document);
}

Texts problems_of(const std::string& text) {
  std::vector<Problem> problems;
  parse_document(text, "x.cfg", problems);
  Texts texts;
  for (const Problem& problem : problems) texts.push_back(problem.message());
  return texts;
}

TEST(Document, KeepsTheLineOfEachKey) {
  EXPECT_EQ(entries_of("# head\n[model.actor]\n\nlr = 1e-3\n[call.a.b]\nx=1\n"),
            (Texts{"model.actor.lr=1e-3@4", "call.a.b.x=1@6"}));
}

TEST(Document, CommentsBeginAtABlankOrTheLineStart) {
  EXPECT_EQ(entries_of("[s] ; one\n  # two\na = d2#x;y # three = 3\nb = # four\nc =#five\n"),
            (Texts{"s.a=d2#x;y@3", "s.b=@4", "s.c=#five@5"}));
}

TEST(Document, QuotesKeepCommentsAndBlanks) {
  EXPECT_EQ(entries_of("[s]\na = \"x # y\" # z\nb = \" say \"\"hi\"\" \"\nc = \"\"\nd = a\"b\n"),
            (Texts{"s.a=x # y@2", "s.b= say \"hi\" @3", "s.c=@4", "s.d=a\"b@5"}));
  EXPECT_EQ(problems_of("[s]\na = \"x\nb = \"x\" y\n"),
            (Texts{"x.cfg:2: the quotes of \"x do not match: write \"...\", with \"\" for a quote "
                   "inside",
                   "x.cfg:3: the quotes of \"x\" y do not match: write \"...\", with \"\" for a "
                   "quote inside"}));
}

TEST(Document, QuotedValuesReadBack) {
  for (const std::string value : {"plain", "", " lead", "trail ", "a # b", "#a", ";", "\"", "\"a\"",
                                  "a \"b\" ;c", "a#b", "\t# \"\"", "d2t1p1@0-1"}) {
    std::vector<Problem> problems;
    const Document document =
        parse_document("[s]\nk = " + quoted_if_needed(value) + "\n", "x.cfg", problems);
    ASSERT_TRUE(problems.empty()) << problems[0].text;
    EXPECT_EQ(document.entries.at(0).value, value);
  }
  EXPECT_EQ(quoted_if_needed("a#b"), "a#b");
}

TEST(Document, TakesWindowsLineEndsAndAByteOrderMark) {
  EXPECT_EQ(entries_of("\xEF\xBB\xBF[s]\r\na = 1\r\n\r\nb = two words\r\n"),
            (Texts{"s.a=1@2", "s.b=two words@4"}));
}

TEST(Document, TheLastLineNeedsNoLineEnd) {
  EXPECT_EQ(entries_of("[s]\na = 1"), (Texts{"s.a=1@2"}));
}

TEST(Document, ASectionMayBeContinued) {
  EXPECT_EQ(entries_of("[s]\na = 1\n[t]\nb = 2\n[s]\nc = 3\n"),
            (Texts{"s.a=1@2", "t.b=2@4", "s.c=3@6"}));
}

TEST(Document, NamesEachLineThatItCannotRead) {
  EXPECT_EQ(problems_of("lr = 1\n[s]\nhello\n= 3\n[broken\nx = 1\n[]\n[t]\ny = 1\ny = 2\n"),
            (Texts{"x.cfg:1: key lr stands before any [section]; only include may",
                   "x.cfg:3: 'hello' is neither a [section] nor `key = value`",
                   "x.cfg:4: there is no key before '='",
                   "x.cfg:5: '[broken' is not a section: write [name]",
                   "x.cfg:7: '[]' is not a section: write [name]",
                   "x.cfg:10: key t.y is given twice in this file"}));
}

TEST(Document, ALoneBracketIsNoSection) {
  EXPECT_EQ(problems_of("["), (Texts{"x.cfg:1: '[' is not a section: write [name]"}));
}

TEST(Document, ReportsNulBytesOnce) {
  EXPECT_EQ(problems_of(std::string("[s]\na = 1\nb\0 = 2\n\0\n", 18)),
            (Texts{"x.cfg:3: contains a NUL byte: not a text file"}));
}

TEST(Document, IncludeInASectionIsAMistake) {
  EXPECT_EQ(problems_of("[s]\ninclude = a.cfg\n"),
            (Texts{"x.cfg:2: include must stand before the first [section]"}));
}

TEST(Include, IsRelativeToTheFileAndIsOverridden) {
  ConfigFolder folder;
  folder.write("graphs/deep/base.cfg", "[s]\na = 1\nb = 1\nc = 1\n");
  folder.write("graphs/mid.cfg", "include = deep/base.cfg\n[s]\nb = 2\nc = 2\n");
  const std::string top = folder.write("top.cfg", "include = graphs/mid.cfg\n[s]\nc = 3\nd = 3\n");
  std::vector<Problem> problems;

  const Document document = read_document(top, problems);

  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(entries_of(document), (Texts{"s.a=1@2", "s.b=2@3", "s.c=3@3", "s.d=3@4"}));
  EXPECT_EQ(document.find("s", "a")->where.file, folder.path("graphs/deep/base.cfg"));
  EXPECT_EQ(document.find("s", "a")->folder, folder.path("graphs/deep"));
  EXPECT_EQ(document.find("s", "c")->where.file, top);
  EXPECT_EQ(document.find_section("s")->where.file, folder.path("graphs/deep/base.cfg"));
  EXPECT_EQ(document.find("s", "e"), nullptr);
}

TEST(Include, TheLaterOfTwoWins) {
  ConfigFolder folder;
  folder.write("a.cfg", "[s]\nx = a\n");
  folder.write("b.cfg", "[s]\nx = b\n");
  const std::string top = folder.write("top.cfg", "include = a.cfg\ninclude = b.cfg\n");
  std::vector<Problem> problems;

  EXPECT_EQ(entries_of(read_document(top, problems)), (Texts{"s.x=b@2"}));
  EXPECT_TRUE(problems.empty());
}

TEST(Include, OneFileMayBeReachedTwoWays) {
  ConfigFolder folder;
  folder.write("base.cfg", "[s]\nx = 1\n");
  folder.write("a.cfg", "include = base.cfg\n");
  folder.write("b.cfg", "include = base.cfg\n");
  std::vector<Problem> problems;

  read_document(folder.write("top.cfg", "include = a.cfg\ninclude = b.cfg\n"), problems);

  EXPECT_TRUE(problems.empty());
}

TEST(Include, ACircleIsNamed) {
  ConfigFolder folder;
  folder.write("b.cfg", "# b\ninclude = a.cfg\n[s]\ny = 1\n");
  const std::string top = folder.write("a.cfg", "include = b.cfg\n[s]\nx = 1\n");
  std::vector<Problem> problems;

  const Document document = read_document(top, problems);

  EXPECT_EQ(folder.messages(problems),
            (Texts{"b.cfg:2: files include each other in a circle: a.cfg includes b.cfg includes "
                   "a.cfg"}));
  EXPECT_EQ(entries_of(document), (Texts{"s.y=1@4", "s.x=1@3"}));
}

TEST(Include, AFileThatIncludesItselfIsACircle) {
  ConfigFolder folder;
  std::vector<Problem> problems;

  read_document(folder.write("a.cfg", "include = ./a.cfg\n"), problems);

  EXPECT_EQ(folder.messages(problems),
            (Texts{"a.cfg:1: files include each other in a circle: a.cfg includes a.cfg"}));
}

TEST(Include, AMissingFileIsReportedWhereItIsIncluded) {
  ConfigFolder folder;
  std::vector<Problem> problems;

  read_document(folder.write("a.cfg", "\ninclude = gone.cfg\n[s]\nx = 1\n"), problems);

  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(folder.messages(problems)[0].rfind("a.cfg:2: gone.cfg: cannot open: No such file", 0),
            0u)
      << problems[0].message();
}

TEST(Include, AFolderIsNoFile) {
  ConfigFolder folder;
  std::vector<Problem> problems;

  read_document(folder.write("a.cfg", "include =\n"), problems);

  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].text.find("is a folder, not a configuration file"), std::string::npos);
}

TEST(Sets, OverrideTheKeyAfterTheLastDot) {
  std::vector<Problem> problems;
  Document document = parse_document("[call.actor_gen]\nn_seqs = 8\n", "x.cfg", problems);

  apply_sets(document, Texts{"call.actor_gen.n_seqs=16", "model.actor.path = a=b", "s.k="},
             problems);

  EXPECT_TRUE(problems.empty());
  EXPECT_EQ(entries_of(document),
            (Texts{"call.actor_gen.n_seqs=16@0", "model.actor.path=a=b@0", "s.k=@0"}));
  EXPECT_EQ(document.find("model.actor", "path")->folder, std::filesystem::current_path());
  EXPECT_EQ(document.entries[0].where.file, "--set call.actor_gen.n_seqs=16");
}

TEST(Sets, TheLastOneWins) {
  std::vector<Problem> problems;
  Document document;

  apply_sets(document, Texts{"s.k=1", "s.k=2"}, problems);

  EXPECT_EQ(entries_of(document), (Texts{"s.k=2@0"}));
}

TEST(Sets, NeedSectionKeyAndValue) {
  std::vector<Problem> problems;
  Document document;

  apply_sets(document, Texts{"lr=1", "model.actor.lr", "model.actor.=1", ".lr=1", ""}, problems);

  ASSERT_EQ(problems.size(), 5u);
  EXPECT_EQ(problems[0].message(), "--set lr=1: write --set section.key=value");
  EXPECT_TRUE(document.entries.empty());
}

TEST(Include, HasADeepestOne) {
  ConfigFolder folder;
  for (int i = 0; i < 5000; ++i) {
    folder.write(base::concat(i, ".cfg"), base::concat("include = ", i + 1, ".cfg\n[s]\nx = 1\n"));
  }
  std::vector<Problem> problems;

  read_document(folder.path("0.cfg"), problems);

  EXPECT_EQ(folder.messages(problems),
            (Texts{"15.cfg:1: files include each other deeper than 16 files; the next would be "
                   "16.cfg"}));
}

TEST(Include, SomeFilesIncludedTwiceByEachOtherEnd) {
  ConfigFolder folder;
  for (int i = 0; i < 15; ++i) {
    folder.write(base::concat(i, ".cfg"),
                 base::concat("include = ", i + 1, ".cfg\ninclude = ", i + 1, ".cfg\n"));
  }
  folder.write("15.cfg", "[s]\nx = 1\n");
  std::vector<Problem> problems;

  read_document(folder.path("0.cfg"), problems);

  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].text.find("more than 256 files are included"), std::string::npos)
      << problems[0].text;
}

TEST(Include, SpecialFilesAreNotRead) {
  ConfigFolder folder;
  ASSERT_EQ(mkfifo(folder.path("pipe").c_str(), 0600), 0);
  for (const auto& [name, kind] :
       {std::pair{std::string("/dev/zero"), "a device"}, {folder.path("pipe"), "a pipe"}}) {
    std::vector<Problem> problems;

    read_document(name, problems);

    ASSERT_EQ(problems.size(), 1u) << name;
    EXPECT_NE(problems[0].text.find(base::concat("is ", kind, ", not")), std::string::npos)
        << problems[0].text;
  }
}

TEST(Document, HasALargestSize) {
  ConfigFolder folder;
  std::vector<Problem> problems;

  read_document(folder.write("a.cfg", std::string(kMostFileBytes + 1, ' ')), problems);

  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].text.find("too large; expected at most 16.0 MiB"), std::string::npos)
      << problems[0].text;
}

TEST(Document, HasSoManySections) {
  std::string text;
  for (size_t i = 0; i < 3 * kMostSections; ++i) text += base::concat("[s.", i, "]\nx = 1\n");

  EXPECT_EQ(problems_of(text), (Texts{"x.cfg:2001: more than 1000 sections"}));
}

}  // namespace
}  // namespace orrery::config
