import{a}from"./chunk-TNPT5OWO.js";import"./chunk-RX2JDLRM.js";import"./chunk-FDL3S2JU.js";import"./chunk-WAUWRNOZ.js";import"./chunk-ODD536TI.js";export{a as default};
