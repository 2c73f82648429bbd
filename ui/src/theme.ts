import { Alert, createTheme, type MantineColorsTuple } from "@mantine/core";

/** The one accent; everything else is neutral, so that colour always says something. */
const petrol: MantineColorsTuple = [
  "#e6f6f8", "#cdeaee", "#9dd6de", "#69c1cd", "#3fb0bf", "#27a5b6", "#0f8fa1", "#0b7285", "#095d6d", "#064854",
];
const gray: MantineColorsTuple = [
  "#f6f7f8", "#eff1f2", "#e4e7e9", "#d5d9dd", "#bcc3c9", "#9aa3ab", "#66707a", "#4b545d", "#2d343a", "#14181c",
];
const dark: MantineColorsTuple = [
  "#e8ecef", "#b4bcc4", "#929ca5", "#5d666e", "#363e45", "#272d32", "#1b2024", "#13171a", "#0d1012", "#090b0d",
];

export const theme = createTheme({
  primaryColor: "petrol",
  // White words on it reach a contrast of 5.5, in both themes.
  primaryShade: 7,
  colors: { petrol, gray, dark },
  black: "#14181c",
  fontFamily: "'Geist Variable', system-ui, -apple-system, 'Segoe UI', sans-serif",
  fontFamilyMonospace: "'Geist Mono Variable', ui-monospace, 'SFMono-Regular', Menlo, monospace",
  headings: { fontFamily: "'Geist Variable', system-ui, sans-serif", fontWeight: "600" },
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.875rem", lg: "1rem", xl: "1.125rem" },
  defaultRadius: "md",
  radius: { xs: "3px", sm: "4px", md: "6px", lg: "10px", xl: "16px" },
  cursorType: "pointer",
  respectReducedMotion: true,
  components: {
    Button: { defaultProps: { size: "xs" } },
    ActionIcon: { defaultProps: { variant: "subtle", color: "gray", size: "md" } },
    TextInput: { defaultProps: { size: "xs" } },
    Select: { defaultProps: { size: "xs" } },
    SegmentedControl: { defaultProps: { size: "xs" } },
    Tooltip: { defaultProps: { openDelay: 350, withArrow: false, fz: "xs" } },
    Menu: { defaultProps: { shadow: "md", transitionProps: { duration: 80 } } },
    // In the tints of the chips, in both themes; words are in ink, for coloured ones on a tint cannot be read.
    Alert: Alert.extend({
      styles: (_, { color }) => {
        const tint = color === "yellow" ? "warn" : color === "red" ? "bad" : undefined;
        return {
          ...(tint === undefined ? {} : { root: { background: `var(--t-${tint}-soft)`, border: `1px solid var(--t-${tint}-line)` }, icon: { color: `var(--t-${tint})` } }),
          title: { color: "var(--t-ink)" },
          message: { color: "var(--t-ink-2)" },
        };
      },
    }),
    // Their closing cross has no words of its own.
    Drawer: { defaultProps: { closeButtonProps: { "aria-label": "Dismiss" } } },
    Modal: { defaultProps: { closeButtonProps: { "aria-label": "Dismiss" }, transitionProps: { duration: 100 }, overlayProps: { backgroundOpacity: 0.35, blur: 2 } } },
  },
});
