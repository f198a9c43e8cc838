// Conversations as chat templates write them: the same text as transformers, or a refusal that says
// what the template asks for.
#include "orrery/data/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/temporary_folder.h"
#include "orrery/base/file.h"

namespace orrery::data {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const std::string kFolder = std::string(ORRERY_SOURCE_DIR) + "/tests/fixtures/chat/";

json file(const std::string& name) { return json::parse(base::read_file(kFolder + name)); }

std::string rendered(const std::string& text, const json& messages,
                     GenerationPrompt prompt = GenerationPrompt::kNone) {
  return ChatTemplate(
             {.origin = "t.jinja", .text = text, .special_tokens = {{"eos_token", "</s>"}}})
      .render(messages, prompt);
}

std::string refusal(const std::string& text, const json& messages) {
  try {
    rendered(text, messages);
  } catch (const Error& problem) {
    return problem.what();
  }
  return "none";
}

const json kTwo =
    json::array({{{"role", "system"}, {"content", " S "}}, {{"role", "user"}, {"content", "Q"}}});

TEST(ChatTemplate, GivesTheTextOfTransformersOrRefuses) {
  // These put texts around messages and no more: they must be taken.
  const std::set<std::string> plain = {"blocks_eos", "chatml_tools", "inst_sys", "role_tags",
                                       "turns_no_system"};
  const json conversations = file("conversations.json"),
             expected = file("expected.json")["expected"];
  int n_equal = 0;
  for (const auto& [folder, renderings] : expected.items()) {
    const ChatTemplate chat(*read_chat_template(kFolder + folder));
    for (const auto& [name, rendering] : renderings.items()) {
      const json& conversation = conversations[name];
      if (conversation.contains("tools") || conversation.contains("options")) continue;
      const json& messages = conversation["messages"];
      SCOPED_TRACE(folder + " " + name);
      const bool has_texts_only = name == "one" || name == "system" || name == "turns" ||
                                  name == "turns_system" || name == "braces";
      try {
        const std::string prompt = chat.render(messages, GenerationPrompt::kAdd);
        ASSERT_FALSE(rendering.contains("error"));
        EXPECT_EQ(prompt, rendering["prompt"]);
        EXPECT_EQ(chat.render(messages, GenerationPrompt::kNone), rendering["whole"]);
        ++n_equal;
      } catch (const ChatTemplateError& problem) {
        EXPECT_FALSE(plain.contains(folder) && has_texts_only && !rendering.contains("error"))
            << problem.what();
      }
    }
  }
  EXPECT_GE(n_equal, 40);
}

TEST(ChatTemplate, KnowsSpecialTokensAndNamedTemplatesOfADirectory) {
  const TemporaryFolder folder;
  EXPECT_FALSE(read_chat_template(folder.path()).has_value());

  std::ofstream(folder / "tokenizer_config.json") <<
      R"({"eos_token": {"content": "<e>"}, "chat_template": [
                       {"name": "rag", "template": "no"},
                       {"name": "default", "template": "{{ messages[0].content + eos_token }}"}]})";
  const auto named = read_chat_template(folder.path());
  EXPECT_EQ(ChatTemplate(*named).render(kTwo, GenerationPrompt::kNone), " S <e>");

  std::ofstream(folder / "chat_template.jinja") << "{{ bos_token }}x";
  EXPECT_EQ(read_chat_template(folder.path())->text, "{{ bos_token }}x") << "the file comes first";
}

TEST(ChatTemplate, TrimsBlocksAsTransformersDoes) {
  EXPECT_EQ(rendered("a\n  {% if true %}\nb\n  {% endif %}\nc\n", kTwo), "a\nb\nc");
  EXPECT_EQ(rendered("a  {{- ' b ' -}}  \n c", kTwo), "a b c");
  EXPECT_EQ(rendered("{{ 'a' }} {% if true %}b{% endif %}", kTwo), "a b") << "no line of its own";
  EXPECT_EQ(rendered("a {# {{ no }} #}\nb {{ '%}' }}", kTwo), "a b %}");
}

TEST(ChatTemplate, LoopsOverMessagesAndKnowsTheirPlaces) {
  EXPECT_EQ(rendered("{% for m in messages %}{{ loop.index0 ~ m['content'] | trim }}"
                     "{% if not loop.last %},{% endif %}{% endfor %}",
                     kTwo),
            "0S,1Q");
  EXPECT_EQ(rendered("{% for m in messages[1:] if m.role in ['user', 'tool'] %}{{ m.role }}"
                     "{{ loop.length }}{% endfor %}{{ m }}",
                     kTwo),
            "user1");
  EXPECT_EQ(rendered("{% for m in messages %}{{ m.role if not loop.previtem else 'after ' + "
                     "loop.previtem.role }};{% endfor %}",
                     kTwo),
            "system;after system;");
  EXPECT_EQ(rendered("{% set x = 'out' %}{% for m in messages %}{% set x = m.role %}{% endfor %}"
                     "{{ x }}{{ messages[-1].role if tools is none else 'T' }}",
                     kTwo),
            "outuser");
}

TEST(ChatTemplate, RefusesByNameWhatItLacksWhereItIsReached) {
  EXPECT_THAT(refusal("{{ messages | tojson }}", kTwo), HasSubstr("the filter tojson"));
  EXPECT_THAT(refusal("{{ strftime_now('%Y') }}", kTwo), HasSubstr("the function strftime_now()"));
  EXPECT_THAT(refusal("{% set n = namespace(a=1) %}", kTwo), HasSubstr("`=`"));
  EXPECT_THAT(refusal("{% include 'x' %}", kTwo), HasSubstr("the statement `include`"));
  EXPECT_THAT(refusal("{{ 0x10 }}", kTwo), HasSubstr("the number 0x10"));
  EXPECT_THAT(refusal("{{ 99999999999999999999 }}", kTwo), HasSubstr("the number 9999"));
  EXPECT_THAT(refusal("{{ raise_exception('no system role') }}", kTwo),
              HasSubstr("no system role"));
  EXPECT_THAT(refusal("{{ messages[0].name + 'x' }}", kTwo), HasSubstr("that the message has not"));
  EXPECT_EQ(refusal("{% if tools %}{{ tools | tojson }}{% include 'x' %}{% endif %}", kTwo),
            "none");
}

TEST(ChatTemplate, ThatIsBrokenIsNamedWithItsLine) {
  for (const char* text :
       {"a\n{% if x %}b", "a\n{% endfor %}", "a\n{{ x", "\n{% for m in x %}{% endif %}",
        "a\n{% if x %}{% elif y %}{% else %}{% elif z %}{% endif %}"}) {
    EXPECT_THAT(refusal(text, kTwo), HasSubstr("t.jinja: the chat template, line 2")) << text;
  }
}

}  // namespace
}  // namespace orrery::data
