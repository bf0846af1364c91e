import{a}from"./chunk-RDOTCLRO.js";import"./chunk-FJDBCY6U.js";import"./chunk-FDL3S2JU.js";import"./chunk-WAUWRNOZ.js";import"./chunk-ODD536TI.js";export{a as default};
