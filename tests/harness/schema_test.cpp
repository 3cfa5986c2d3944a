// results/SCHEMA.md says what the writer writes.

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "harness/build_facts.h"
#include "harness/record/schema_text.h"
#include "harness/record/table.h"

namespace mlpwatt {
namespace {

std::string read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Schema, DocumentAgreesWithTheDeclarations) {
  const std::string document = read(build_facts().source_dir + "/results/SCHEMA.md");
  ASSERT_NE(document, "");
  EXPECT_EQ(document, with_schema(document)) << "results/SCHEMA.md is out of date: run `make schema`";
}

TEST(Schema, AnOutdatedDocumentIsSeen) {
  std::string document = with_schema(read(build_facts().source_dir + "/results/SCHEMA.md"));
  const std::size_t at = document.find("| `step_s` |");
  ASSERT_NE(at, std::string::npos);
  document.erase(at, 5);
  EXPECT_NE(document, with_schema(document));
  EXPECT_THROW(with_schema("no markers"), std::runtime_error);
}

TEST(Schema, ColumnsAreNamedOnceAndSaidInFull) {
  for (const Table* table : all_tables()) {
    std::set<std::string> names{table->dimension()};
    for (const Column& column : table->columns()) {
      const std::string name = table->group() + "/" + column.name;
      EXPECT_TRUE(names.insert(column.name).second) << name << " twice";
      EXPECT_FALSE(column.long_name.empty()) << name;
      EXPECT_EQ(column.unit.empty(), column.type == Type::kText) << name;
      // one provenance a column: what is measured, modelled or simulated never shares one
      for (const char* kind : {"measured", "modelled", "simulated"})
        if (column.name.ends_with(std::string("_") + kind)) {
          EXPECT_EQ(column.provenance, kind) << name;
        }
    }
  }
}

}  // namespace
}  // namespace mlpwatt
