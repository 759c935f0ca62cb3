import js from "@eslint/js";

export default [
  { ignores: ["**/engine/**"] },
  js.configs.recommended,
  {
    rules: {
      "no-undef": "off", // the type checker knows what a browser has
      "max-lines": ["error", 300],
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
    },
  },
];
