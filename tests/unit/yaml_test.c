// SPDX-License-Identifier: GPL-2.0-only
/* Text to trees: types, lines, paths, documents, aliases; what is refused stands in manifests/bad.
 */
#include <errno.h>
#include <stdlib.h>

#include "check.h"
#include "yaml.h"

static const struct yaml_node *first_document(const char *text, const char *file,
					      struct yaml **ret_yaml, struct diag *diag)
{
	const struct yaml_node *root = NULL;

	*ret_yaml = NULL;
	if (yaml_open(text, strlen(text), file, ret_yaml, diag) ||
	    yaml_next(*ret_yaml, &root, diag))
		return NULL;
	return root;
}

TEST(plain_scalars_have_the_types_that_kubernetes_sees)
{
	static const struct {
		const char *text;
		enum yaml_type type;
	} rows[] = {
		{"", YAML_NULL},          {"~", YAML_NULL},          {"null", YAML_NULL},
		{"true", YAML_BOOL},      {"False", YAML_BOOL},      {"yes", YAML_BOOL},
		{"off", YAML_BOOL},       {"0", YAML_INT},           {"-12", YAML_INT},
		{"+7", YAML_INT},         {"0x1F", YAML_INT},        {"0o17", YAML_INT},
		{"1.5", YAML_FLOAT},      {"1e3", YAML_FLOAT},       {".5", YAML_FLOAT},
		{"1.", YAML_FLOAT},       {".inf", YAML_FLOAT},      {"-.INF", YAML_FLOAT},
		{".nan", YAML_FLOAT},     {"10.0.0.1", YAML_STRING}, {"1.5s", YAML_STRING},
		{"1e", YAML_STRING},      {"0x", YAML_STRING},       {".", YAML_STRING},
		{"-", YAML_STRING},       {"trueish", YAML_STRING},  {"nullify", YAML_STRING},
		{"enabled", YAML_STRING}, {"::1", YAML_STRING},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (yaml_resolve(rows[i].text) != rows[i].type)
			printf("  in \"%s\"\n", rows[i].text);
		CHECK_INT(yaml_resolve(rows[i].text), rows[i].type);
	}
}

TEST(nodes_know_line_and_path)
{
	struct diag diag = {0};
	struct yaml *yaml;
	char path[256];
	const struct yaml_node *root, *node;

	root = first_document("# one\nspec:\n  ports:\n  - name: a\n  - port: 80\n"
			      "metadata: {labels: {\"a.b/c\": \"80\"}}\n",
			      "a.yaml", &yaml, &diag);
	node = yaml_get(yaml_get(root, "spec"), "ports");
	CHECK_INT(node->n, 2);
	node = yaml_get(node->last, "port");
	CHECK_INT(node->line, 5);
	CHECK_INT(node->type, YAML_INT);
	CHECK_STR(yaml_path(node, root, path, sizeof(path)), "spec.ports[1].port");
	CHECK_STR(yaml_path(node, node->parent, path, sizeof(path)), "port");
	node = yaml_get(yaml_get(yaml_get(root, "metadata"), "labels"), "a.b/c");
	CHECK_INT(node->type, YAML_STRING);
	CHECK_INT(node->line, 6);
	CHECK_STR(yaml_path(node, root, path, sizeof(path)), "metadata.labels[a.b/c]");
	CHECK_STR(yaml_path(node, root, path, 9), "metadata");
	CHECK_STR(yaml_path(root, root, path, sizeof(path)), "");
	CHECK(!yaml_get(root, "spec.ports"));
	CHECK(!yaml_get(node, "x"));
	CHECK(!yaml_get(NULL, "x"));
	yaml_close(yaml);
}

TEST(documents_come_one_by_one_and_empty_ones_not_at_all)
{
	static const char text[] = "# none\n---\n---\na: 1\n---\n# none\n...\n---\nb: 2\n---\n";
	const struct yaml_node *root;
	struct diag diag = {0};
	struct yaml *yaml;

	root = first_document(text, "a.yaml", &yaml, &diag);
	CHECK(yaml_get(root, "a") != NULL);
	CHECK_INT(yaml_next(yaml, &root, &diag), 0);
	CHECK(yaml_get(root, "b") != NULL);
	CHECK_INT(yaml_get(root, "b")->line, 9);
	CHECK_INT(yaml_next(yaml, &root, &diag), 0);
	CHECK(!root);
	yaml_close(yaml);
	CHECK_INT(yaml_open("", 0, "a.yaml", &yaml, &diag), 0);
	CHECK_INT(yaml_next(yaml, &root, &diag), 0);
	CHECK(!root);
	yaml_close(yaml);
}

TEST(aliases_are_expanded_where_they_stand)
{
	const struct yaml_node *root, *node;
	struct diag diag = {0};
	struct yaml *yaml;
	char path[64];

	root = first_document("a: &x {b: [1, {c: 2}]}\nd: *x\n", "a.yaml", &yaml, &diag);
	node = yaml_get(yaml_get(root, "d"), "b");
	CHECK_INT(node->n, 2);
	node = yaml_get(node->last, "c");
	CHECK_STR(node->text, "2");
	CHECK_INT(node->line, 2);
	CHECK_STR(yaml_path(node, root, path, sizeof(path)), "d.b[1].c");
	yaml_close(yaml);
}

TEST(json_is_read_and_held_to_its_rules)
{
	const struct yaml_node *root;
	struct diag diag = {0};
	struct yaml *yaml;

	root = first_document("{\"a\": [true, null, \"\\u0041\\/\"],\n \"b\": 1}", "a.json", &yaml,
			      &diag);
	CHECK_STR(yaml_get(root, "a")->last->text, "A/");
	CHECK_INT(yaml_get(root, "b")->line, 2);
	yaml_close(yaml);
	CHECK(!first_document("{\"a\": 1,}", "a.json", &yaml, &diag));
	CHECK_INT(diag.line, 1);
	CHECK(strstr(diag.reason, "trailing comma") != NULL);
	yaml_close(yaml);
}

TEST(whole_numbers_within_bounds)
{
	struct yaml_node node = {.type = YAML_INT};
	static const struct {
		const char *text;
		int err;
		int64_t value;
	} rows[] = {
		{"1", 0, 1},           {"65535", 0, 65535},  {"0", -ERANGE, 0},
		{"65536", -ERANGE, 0}, {"-1", -ERANGE, 0},   {"99999999999999999999", -ERANGE, 0},
		{"080", -EINVAL, 0},   {"0x50", -EINVAL, 0}, {"+80", -EINVAL, 0},
		{"-080", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int64_t value = -7;

		node.text = rows[i].text;
		CHECK_INT(yaml_int(&node, 1, 65535, &value), rows[i].err);
		CHECK_INT(value, rows[i].err ? -7 : rows[i].value);
	}
}

TEST(many_keys_are_searched_for_doubles_too)
{
	char *text = calloc(1, 1 << 20), *end = text;
	struct diag diag = {0};
	struct yaml *yaml;

	for (int i = 0; i < 20000; i++)
		end += sprintf(end, "key%d: %d\n", i, i);
	CHECK(first_document(text, "a.yaml", &yaml, &diag) != NULL);
	yaml_close(yaml);
	strcpy(end, "key777: again\n");
	CHECK(!first_document(text, "a.yaml", &yaml, &diag));
	CHECK_INT(diag.line, 20001);
	CHECK_STR(diag.field, "key777");
	yaml_close(yaml);
	free(text);
}

TEST(long_input_is_refused)
{
	struct diag diag = {0};
	struct yaml *yaml;

	CHECK_INT(yaml_open("", YAML_MAX_BYTES + 1, "a.yaml", &yaml, &diag), -EINVAL);
	CHECK_STR(diag.reason, "is larger than 64 MiB; split it into several files");
}
