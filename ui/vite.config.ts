import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

const control = process.env.TETRAD_CONTROL_URL ?? "http://127.0.0.1:8401";

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { "@": new URL("./src", import.meta.url).pathname } },
  server: { proxy: { "/api": { target: control, changeOrigin: false } } },
  build: {
    target: "es2022",
    sourcemap: false,
    assetsInlineLimit: 0,
    // The layout of graphs (ELK) is one large file, loaded when the first graph is looked at.
    chunkSizeWarningLimit: 1_500,
  },
  test: {
    environment: "jsdom",
    include: ["src/**/*.test.{ts,tsx}"],
    setupFiles: ["src/testing.ts"],
    restoreMocks: true,
    testTimeout: 30_000, // ends what hangs; a slow machine is no fault
  },
});
